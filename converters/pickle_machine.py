"""A small pickle interpreter that can build plain data and nothing else.

Python's own unpickler imports and calls whatever a file names. Here a name only ever stands for one
of a closed table of constructors written in this package; any other name, and any opcode that the
formats do not need, is refused before anything is built. Work and memory are bounded by the size of
the file.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any

from converters.errors import CheckpointError

MAX_INTEGER_BYTES = 64
MAX_COPIED_BYTES = 4096  # longer byte strings stay views of the file
MAX_NAME_BYTES = 256
MAX_TEXT_BYTES = 16 * 2**20
MAX_OPERATIONS = 2_000_000  # ten times what the largest checkpoints need

# Values that may be keys: hashing them is cheap and cannot recurse.
_KEY_TYPES = (str, int, bytes, float, type(None))


UNFINISHED = object()


class Constructor:
    """What an allowed name stands for: a function of this package, called with the arguments in the
    file.

    Args:
      name: `module.name` as in the file.
      call: takes the machine and the arguments. None if the name may only be mentioned.
      value: what the name means when it is mentioned as a value, for example a dtype.
    """

    __slots__ = ("call", "name", "value")

    def __init__(self, name: str, call: Callable[..., Any] | None = None, value: Any = None):
        self.name = name
        self.call = call
        self.value = value


class Buildable:
    """An object under construction: the state that the file hands it makes `result` final.

    Args:
      name: what is being built, for messages.
      build: takes the machine and the state, returns the final value.
      result: the value if no state follows.
    """

    __slots__ = ("build", "name", "result")

    def __init__(
        self, name: str, build: Callable[["PickleMachine", Any], Any], result: Any = UNFINISHED
    ):
        self.name = name
        self.build = build
        self.result = result


class PickleMachine:
    """Interprets one pickle after another out of `data`.

    Args:
      data: the bytes of the file, a view of a memory map.
      position: where the first pickle starts.
      allowed: constructors by `module.name`: the closed list.
      load_storage: turns a persistent id (a tuple) into a value. None refuses persistent ids.
      budget: how many items constructors may copy in total; the size of the file by default.
    """

    def __init__(
        self,
        data: memoryview,
        position: int = 0,
        *,
        allowed: Mapping[str, Constructor],
        load_storage: Callable[[Any], Any] | None = None,
        budget: int | None = None,
    ):
        self.data = data
        self.position = position
        self._allowed = allowed
        self._load_storage = load_storage
        self._budget = len(data) + 4096 if budget is None else budget

    def load(self) -> Any:
        """Interpret the pickle at `position` and move behind it.

        Raises:
          CheckpointError: for a name or an opcode outside the closed list, and for a damaged
            pickle.
        """
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        data = self.data
        try:
            for _ in range(MAX_OPERATIONS):
                opcode = data[self.position]
                self.position += 1
                if opcode == _STOP:
                    return self._finish()
                handler = _HANDLERS.get(opcode)
                if handler is None:
                    raise CheckpointError(
                        f"the pickle uses opcode {bytes([opcode])!r}, which no checkpoint needs"
                    )
                handler(self)
            raise CheckpointError(f"the pickle has more than {MAX_OPERATIONS} operations")
        except (IndexError, struct.error) as error:
            raise CheckpointError(
                "the pickle ends early or is damaged; is the download incomplete?"
            ) from error
        except (
            TypeError,
            ValueError,
            KeyError,
            OverflowError,
            AttributeError,
            RecursionError,
        ) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(
                f"the pickle is damaged ({type(error).__name__}: {str(error)[:100]})"
            ) from error

    def spend(self, amount: int) -> None:
        """Count `amount` copied items, so that a small file cannot ask for a large structure."""
        self._budget -= amount
        if self._budget < 0:
            raise CheckpointError("the pickle builds far more than a file of its size can hold")

    def _finish(self) -> Any:
        value = self.pop()
        if self._stack or self._marked:
            raise CheckpointError("the pickle is damaged: it leaves values behind")
        return value

    # Bytes of the file.

    def take(self, size: int) -> memoryview:
        start = self.position
        if size < 0 or size > len(self.data) - start:
            raise CheckpointError(
                "the pickle ends early or is damaged; is the download incomplete?"
            )
        self.position = start + size
        return self.data[start : self.position]

    def number(self, layout: struct.Struct) -> Any:
        return layout.unpack(self.take(layout.size))[0]

    def line(self) -> str:
        start = self.position
        window = bytes(self.data[start : start + MAX_NAME_BYTES])
        end = window.find(b"\n")
        if end < 0:
            raise CheckpointError("the pickle holds an unfinished name")
        self.position = start + end + 1
        return window[:end].decode("utf-8")

    # The stack.

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def pop_raw(self) -> Any:
        """The top of the stack, which may be a name or an object under construction."""
        return self._stack.pop()

    def pop(self) -> Any:
        """The top of the stack as a plain value."""
        return _plain(self._stack.pop())

    def top(self) -> Any:
        return _plain(self._stack[-1])

    def mark(self) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def pop_to_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._marked.pop()
        return [_plain(item) for item in items]

    def remember(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def remember_next(self) -> None:
        self.remember(len(self._memo))

    def recall(self, index: int) -> None:
        if index not in self._memo:
            raise CheckpointError(f"the pickle refers to value {index}, which it has not defined")
        self._stack.append(self._memo[index])

    # Building.

    def name(self, module: Any, attribute: Any) -> None:
        full_name = f"{module}.{attribute}"
        if (
            not isinstance(module, str)
            or not isinstance(attribute, str)
            or full_name not in self._allowed
        ):
            raise CheckpointError(
                f"refused to build {full_name[:120]!r}:"
                " a checkpoint may hold tensors and plain data only"
            )
        self._stack.append(self._allowed[full_name])

    def call(self) -> None:
        arguments = self.pop()
        constructor = self.pop_raw()
        if (
            not isinstance(constructor, Constructor)
            or constructor.call is None
            or not isinstance(arguments, tuple)
        ):
            described = (
                constructor.name
                if isinstance(constructor, Constructor)
                else type(constructor).__name__
            )
            raise CheckpointError(
                f"refused to call {described}: a checkpoint may hold tensors and plain data only"
            )
        try:
            self._stack.append(constructor.call(self, *arguments))
        except TypeError as error:
            raise CheckpointError(
                f"{constructor.name} is called with wrong arguments ({str(error)[:100]})"
            ) from error

    def build(self) -> None:
        state = self.pop()
        target = self._stack[-1]
        if isinstance(target, Buildable):
            target.result = target.build(self, state)
        elif not isinstance(
            target, dict
        ):  # attributes of a dictionary (a state_dict's `_metadata`) are not kept
            raise CheckpointError(f"refused to set the state of a {type(target).__name__}")

    def persistent(self) -> None:
        identity = self.pop()
        if self._load_storage is None:
            raise CheckpointError(
                "the pickle refers to data outside itself, but this kind of file has none"
            )
        self._stack.append(self._load_storage(identity))

    def set_items(self, target: Any, flat: list[Any]) -> None:
        if not isinstance(target, dict) or len(flat) % 2:
            raise CheckpointError(
                f"the pickle is damaged: it sets items of a {type(target).__name__}"
            )
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            if not isinstance(key, _KEY_TYPES):
                raise CheckpointError(f"refused a dictionary key of type {type(key).__name__}")
            target[key] = value

    def extend(self, target: Any, items: list[Any]) -> None:
        if type(target) is list:
            target.extend(items)
        elif type(target) is set:
            target.update(check_hashable(items))
        else:
            raise CheckpointError(f"the pickle is damaged: it appends to a {type(target).__name__}")


def check_hashable(items: list[Any]) -> list[Any]:
    """`items`, which may become members of a set.

    Raises:
      CheckpointError: if one of them is not a number, a text or None.
    """
    for item in items:
        if not isinstance(item, _KEY_TYPES):
            raise CheckpointError(f"refused a set member of type {type(item).__name__}")
    return items


def _plain(item: Any) -> Any:
    if isinstance(item, Buildable):
        if item.result is UNFINISHED:
            raise CheckpointError(f"the pickle uses a {item.name} before it is complete")
        return item.result
    if isinstance(item, Constructor):
        if item.value is None:
            raise CheckpointError(f"the pickle uses {item.name} as a value")
        return item.value
    return item


def _integer(machine: PickleMachine, size: int) -> int:
    if size > MAX_INTEGER_BYTES:
        raise CheckpointError(f"the pickle holds an integer of {size} bytes")
    return int.from_bytes(machine.take(size), "little", signed=True)


def _text(machine: PickleMachine, size: int) -> str:
    if size > MAX_TEXT_BYTES:
        raise CheckpointError(f"the pickle holds a text of {size} bytes")
    return bytes(machine.take(size)).decode("utf-8")


def _old_text(machine: PickleMachine, size: int) -> str:
    """A `str` of Python 2: text, or bytes one to one."""
    raw = bytes(machine.take(size))
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _bytes(machine: PickleMachine, size: int) -> bytes | memoryview:
    view = machine.take(size)
    return bytes(view) if size <= MAX_COPIED_BYTES else view


def _protocol(machine: PickleMachine) -> None:
    protocol = machine.number(_UINT8)
    if protocol > 5:
        raise CheckpointError(f"expected a pickle of protocol 2 to 5, got {protocol}")


def _frame(machine: PickleMachine) -> None:
    """FRAME: only a hint for buffering, but one that tells a truncated file."""
    size = machine.number(_UINT64)
    left = len(machine.data) - machine.position
    if size > left:
        raise CheckpointError(
            f"the pickle announces a frame of {size} bytes where {left} are left;"
            " is the download incomplete?"
        )


def _stack_name(machine: PickleMachine) -> None:
    attribute, module = machine.pop(), machine.pop()
    machine.name(module, attribute)


def _set_item(machine: PickleMachine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set_items(machine.top(), [key, value])


def _set_items(machine: PickleMachine) -> None:
    flat = machine.pop_to_mark()
    machine.set_items(machine.top(), flat)


def _append(machine: PickleMachine) -> None:
    item = machine.pop()
    machine.extend(machine.top(), [item])


def _extend(machine: PickleMachine) -> None:
    items = machine.pop_to_mark()
    machine.extend(machine.top(), items)


def _dictionary(machine: PickleMachine) -> None:
    flat = machine.pop_to_mark()
    target: dict[Any, Any] = {}
    machine.set_items(target, flat)
    machine.push(target)


def _tuple_of(count: int) -> Callable[[PickleMachine], None]:
    def handler(machine: PickleMachine) -> None:
        items = [machine.pop() for _ in range(count)]
        machine.push(tuple(reversed(items)))

    return handler


_UINT8, _UINT16 = struct.Struct("<B"), struct.Struct("<H")
_INT32, _UINT32, _UINT64 = struct.Struct("<i"), struct.Struct("<I"), struct.Struct("<Q")
_DOUBLE = struct.Struct(">d")
_STOP = ord(".")

_HANDLERS: dict[int, Callable[[PickleMachine], None]] = {
    0x80: _protocol,
    0x95: _frame,
    # plain values
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("K"): lambda m: m.push(m.number(_UINT8)),
    ord("M"): lambda m: m.push(m.number(_UINT16)),
    ord("J"): lambda m: m.push(m.number(_INT32)),
    0x8A: lambda m: m.push(_integer(m, m.number(_UINT8))),
    0x8B: lambda m: m.push(_integer(m, m.number(_INT32))),
    ord("G"): lambda m: m.push(m.number(_DOUBLE)),
    ord("X"): lambda m: m.push(_text(m, m.number(_UINT32))),
    0x8C: lambda m: m.push(_text(m, m.number(_UINT8))),
    0x8D: lambda m: m.push(_text(m, m.number(_UINT64))),
    ord("U"): lambda m: m.push(_old_text(m, m.number(_UINT8))),
    ord("T"): lambda m: m.push(_old_text(m, m.number(_INT32))),
    ord("B"): lambda m: m.push(_bytes(m, m.number(_UINT32))),
    ord("C"): lambda m: m.push(_bytes(m, m.number(_UINT8))),
    0x8E: lambda m: m.push(_bytes(m, m.number(_UINT64))),
    # containers
    ord("("): lambda m: m.mark(),
    ord(")"): lambda m: m.push(()),
    0x85: _tuple_of(1),
    0x86: _tuple_of(2),
    0x87: _tuple_of(3),
    ord("t"): lambda m: m.push(tuple(m.pop_to_mark())),
    ord("]"): lambda m: m.push([]),
    ord("l"): lambda m: m.push(m.pop_to_mark()),
    ord("a"): _append,
    ord("e"): _extend,
    ord("}"): lambda m: m.push({}),
    ord("d"): _dictionary,
    ord("s"): _set_item,
    ord("u"): _set_items,
    0x8F: lambda m: m.push(set()),
    0x90: _extend,
    0x91: lambda m: m.push(frozenset(check_hashable(m.pop_to_mark()))),
    # the stack and the memo
    ord("0"): lambda m: m.pop_raw(),
    ord("1"): lambda m: m.pop_to_mark(),
    ord("q"): lambda m: m.remember(m.number(_UINT8)),
    ord("r"): lambda m: m.remember(m.number(_UINT32)),
    0x94: lambda m: m.remember_next(),
    ord("h"): lambda m: m.recall(m.number(_UINT8)),
    ord("j"): lambda m: m.recall(m.number(_UINT32)),
    # names and what is made from them
    ord("c"): lambda m: m.name(m.line(), m.line()),
    0x93: _stack_name,
    ord("R"): lambda m: m.call(),
    0x81: lambda m: m.call(),  # NEWOBJ
    ord("b"): lambda m: m.build(),
    ord("Q"): lambda m: m.persistent(),
}

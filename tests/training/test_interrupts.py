import os
import signal

import pytest

from sdflow_jax.training.interrupts import Interrupts

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def usual_interrupt():
    """Python's own SIGINT handler, also where the tests run in the background and SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", SIGNALS)
def test_deferred_signal_waits_to_be_asked_for(number):
    with Interrupts() as interrupts, interrupts.deferred():
        assert not interrupts.stops_at(1)
        os.kill(os.getpid(), number)
        assert interrupts.stops_at(2)
        assert interrupts.received == number.name


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_outside_training_ends_the_program_without_complaint(number):
    with pytest.raises(SystemExit) as stop, Interrupts():
        os.kill(os.getpid(), number)
    assert stop.value.code == 0


def test_second_signal_is_not_held_back():
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts, interrupts.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_given_back():
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interrupts():
        pass
    assert [signal.getsignal(number) for number in SIGNALS] == before

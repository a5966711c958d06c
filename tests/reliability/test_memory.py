from reliability.memory import edits, flat


def test_edits_take_no_more_and_more_memory():
    used = edits(100)
    row = flat("edits", 100, used, "")
    assert row.survived == 100, used


def test_rising_memory_is_noticed():
    row = flat("edits", 100, [100.0 + 5 * i for i in range(20)], "")
    assert row.survived == 0 and row.failures

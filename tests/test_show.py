"""What is printed is what was said."""

from holdfast.cli import show


def test_a_table_wider_than_the_page_keeps_its_words_whole(capsys):
    wide = ["a" * 70, "b" * 70]
    show.table("title", ["one", "two"], [wide])
    out = capsys.readouterr().out
    assert "title" in out and all(word in out for word in wide)


def test_brackets_are_no_markup(capsys):
    show.table("runs/[v2]/[/v2]", ["[red]"], [["npz:[x].npz"], ["[/]"]])
    out = capsys.readouterr().out
    assert all(word in out for word in ("runs/[v2]/[/v2]", "[red]", "npz:[x].npz", "[/]"))

"""What is printed is what was said."""

from holdfast.cli import show


def test_brackets_are_no_markup(capsys):
    show.table("runs/[v2]/[/v2]", ["[red]"], [["npz:[x].npz"], ["[/]"]])
    out = capsys.readouterr().out
    assert all(word in out for word in ("runs/[v2]/[/v2]", "[red]", "npz:[x].npz", "[/]"))

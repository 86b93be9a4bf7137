"""What is printed is what was said."""

from small import blobs, network

from holdfast import margin, training
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


def test_what_is_shown_at_a_prompt_is_short():
    data = blobs()
    trained = training.train(network(data), data, epochs=12, watch=training.Watch(images=6))
    found = margin.search(network(data), data.test.x[:3], data.test.y[:3], step=0.25)
    for shown, begin in (
        (data, "Dataset blobs: "),
        (data.test, f"Split of {len(data.test)} images ("),
        (trained, "Trained for 12 epochs (fp32), best "),
        (found, "Margins of 3 images along "),
    ):
        assert repr(shown).startswith(begin) and len(repr(shown)) < 1000
        assert "tensor(" not in repr(shown)

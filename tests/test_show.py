"""What is printed is what was said."""

from small import blobs, network

from holdfast import attack, diagnosis, evaluation, margin, training
from holdfast.cli import show
from holdfast.result import Table


def test_a_table_wider_than_the_page_keeps_its_words_whole(capsys):
    wide = ["a" * 70, "b" * 70]
    show.table("title", Table(["one", "two"], [wide]))
    out = capsys.readouterr().out
    assert "title" in out and all(word in out for word in wide)


def test_brackets_are_no_markup(capsys):
    show.table("runs/[v2]/[/v2]", Table(["[red]"], [["npz:[x].npz"], ["[/]"]]))
    out = capsys.readouterr().out
    assert all(word in out for word in ("runs/[v2]/[/v2]", "[red]", "npz:[x].npz", "[/]"))


def test_what_is_shown_at_a_prompt_is_short():
    data = blobs()
    trained = training.train(
        network(data), data, epochs=12, precision="fp32", watch=training.Watch(images=6)
    )
    model, x, y = network(data), data.test.x[:3], data.test.y[:3]
    found = margin.search(model, x, y, step=0.25)
    judged = evaluation.evaluate(model, x, y, attacks={"fgsm": attack.FGSM(radius=0.1)})
    some = data.test.x[:20], data.test.y[:20]
    for shown, begin in (
        (judged.worst_case, f"{judged.worst_case.accuracy:.1%} ("),
        (judged.attacks[0], "fgsm (linf 0.1): "),
        (
            evaluation.transfer_matrix({"a": model}, x, y, attack.FGSM()),
            "Transfers of 3 images by fgsm, linf radius 0.03137\n",
        ),
        (diagnosis.entropy(model, x, y), "Entropy of 3 images: "),
        (diagnosis.static(model, x, y), "Static of 3 images (ce)\n"),
        (diagnosis.dynamic(model, x, y), "Dynamic of 3 images (ce)\n"),
        (diagnosis.landscape(model, x, y, size=3), "Landscape of 3 planes (attack)\n"),
        (diagnosis.diagnose(model, *some, radius=0.1, depth=diagnosis.QUICK), "Diagnosis of 20 "),
        (data, "Dataset blobs: "),
        (data.test, f"Split of {len(data.test)} images ("),
        (trained, "Trained for 12 epochs (fp32), best "),
        (found, "Margins of 3 images along "),
    ):
        assert repr(shown).startswith(begin) and len(repr(shown)) < 1500
        assert "tensor(" not in repr(shown)


def test_where_the_weights_are_is_said(tmp_path):
    """Those in hand are the last ones, raw; the rest is named."""
    data, watch = blobs(), training.Watch(images=6)
    trained = training.train(network(data), data, epochs=1, watch=watch)
    assert repr(trained).endswith("The model has the weights of epoch 1.")
    kept = training.train(network(data), data, epochs=1, watch=watch, ema=0.9, out=tmp_path / "a")
    best = f"holdfast.model.load('{tmp_path / 'a' / 'checkpoints' / 'best'}')"
    assert "averaged ones are in .averaged" in repr(kept) and best in repr(kept)

"""An image with what was picked for it and what that was told, for people to look at."""

import numpy as np
from PIL import Image, ImageDraw

from holdfast.environment.lanes import Lanes

SIDE = 192  # of the image in pixels, at least
STRIP = 44  # height of the text below


def picture(lanes: Lanes, lane: int) -> np.ndarray:
    """`[height, width, 3]` in uint8: the image answered last, or the one that waits for a pick."""
    names, answer, pick = lanes.task.dataset.class_names, lanes.last, int(lanes.picked[lane])
    if answer is None or pick < 0:
        return framed(lanes.seen[lane], "no pick yet", "")
    told = f"reward {answer.reward[lane]:+.3g}"
    text = f"is {names[answer.label[lane]]}, picked {names[pick]}"
    return framed(lanes.before[lane], text, told)


def framed(pixels: np.ndarray, *text: str) -> np.ndarray:
    """An image `[channel, height, width]` enlarged, lines of text below it."""
    times = -(-SIDE // max(pixels.shape[1:]))
    grown = pixels.repeat(times, axis=1).repeat(times, axis=2).transpose(1, 2, 0)
    grown = grown if grown.shape[2] == 3 else grown[:, :, :1].repeat(3, axis=2)
    height, width = grown.shape[:2]
    frame = Image.new("RGB", (width, height + STRIP))
    frame.paste(Image.fromarray(grown))
    ImageDraw.Draw(frame).multiline_text((4, height + 4), "\n".join(text), fill="white")
    return np.array(frame)

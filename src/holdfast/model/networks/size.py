"""What an image must have for a network to be built for it."""

from holdfast.errors import BadInput


def require_side(image: tuple[int, int, int], least: int, name: str) -> None:
    """Raises BadInput where an image is too small for all the poolings."""
    if min(image[1:]) < least:
        raise BadInput(f"expected images of at least {least}x{least} for {name}, got {image}")

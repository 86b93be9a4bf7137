"""Classification as a reinforcement-learning environment (Gupta 2020, arXiv 2012.04353, section 2).

Importing this package registers `holdfast/Classification-v0` with Gymnasium: `gymnasium.make` gives
the single environment, `gymnasium.make_vec` its native vector twin. Needs the extra `rl`.
"""

from holdfast.errors import BadInput

try:
    import gymnasium
except ModuleNotFoundError as error:
    raise BadInput(
        f"expected gymnasium for holdfast.environment, got: {error}; pip install 'holdfast[rl]'"
    ) from None

from holdfast.environment.learn import learn
from holdfast.environment.single import Classification
from holdfast.environment.task import Task
from holdfast.environment.vector import VectorClassification

NAME = "holdfast/Classification-v0"

gymnasium.register(
    NAME,
    entry_point="holdfast.environment.single:Classification",
    vector_entry_point="holdfast.environment.vector:VectorClassification",
)

__all__ = ["NAME", "Classification", "Task", "VectorClassification", "learn"]

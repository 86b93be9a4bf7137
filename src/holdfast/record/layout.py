"""What lies in a run folder, by name."""

CONFIG = "config.yaml"  # the settings of the training, as `train --config` reads them
PROVENANCE = "provenance.json"  # what it was made with, and from which files
METRICS = "metrics.jsonl"  # a row for each epoch
CHECKPOINTS = "checkpoints"  # epoch-NNN, and the links last and best
WEIGHTS = "model.safetensors"  # of a checkpoint
CARD = "card.json"  # of a checkpoint: which network the weights are of
EVALUATIONS = "evaluation.jsonl"  # a row for each attack
CURVES = "curve.jsonl"  # a row for each curve over budgets
TRANSFERS = "transfer.jsonl"  # a row for each matrix
DIAGNOSES = "diagnosis.jsonl"  # a row for each diagnosis
FINDINGS = "findings.json"  # the newest diagnosis
ROUNDS = "retraining.jsonl"  # a row for each round of boundary feedback

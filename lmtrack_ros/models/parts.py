"""What data is divided into."""

from enum import Enum


class Part(Enum):
    """What the images or sequences of a subject are for; a subject is in one part only."""

    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"

"""One way to run a network: a call makes it ready on a device, whatever library runs it there.

Importing this package does not import torch: see :mod:`lmtrack_ros.inference.engine` for the call.
"""

from lmtrack_ros.inference.parameters import InferenceParameters

__all__ = ["InferenceParameters"]

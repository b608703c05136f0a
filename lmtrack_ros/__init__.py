"""Closed-loop motion management: image frames in, landmarks, beam holds and couch shifts out."""

from pkgutil import extend_path

# A source tree on sys.path and the installed package share this name: without
# extend_path the one found first hides the generated lmtrack_ros.msg of the other.
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"

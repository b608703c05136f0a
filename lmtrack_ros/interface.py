"""Core records to and from messages, for rclpy and for recordings alike.

Messages are made by a ``make(type_name, **fields)`` that the caller supplies, and read by their
attributes, which rclpy's and rosbags' classes share; so nothing here imports ROS. This is the one
place where millimetres become the interface's metres.
"""

import array
from collections.abc import Callable, Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any, TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmtrack_ros.core import frames
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import ISOCENTER, ImageGeometry, Modality, Mount
from lmtrack_ros.core.records import (
    NS_PER_S,
    AuditEntry,
    CouchMode,
    CouchShift,
    CouchStatus,
    Estimate,
    GateDecision,
    GateState,
    Landmark,
    LandmarkSet,
    LatencyStamps,
    MarkedLandmarks,
    Reason,
    Status,
)

Message: TypeAlias = Any
Make: TypeAlias = Callable[..., Message]

_M_PER_MM = 1e-3
_S_PER_MS = 1e-3

TOPIC_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "image": "sensor_msgs/msg/Image",
        "volume": "lmtrack_ros/msg/VolumeImage",
        "image_geometry": "lmtrack_ros/msg/ImageGeometry",
        "landmarks": "lmtrack_ros/msg/LandmarkArray",
        "initial_landmarks": "lmtrack_ros/msg/LandmarkArray",
        "truth": "lmtrack_ros/msg/LandmarkArray",
        "gate": "lmtrack_ros/msg/GateDecision",
        "audit": "lmtrack_ros/msg/AuditEntry",
        "couch_shift": "lmtrack_ros/msg/CouchShift",
        "couch_status": "lmtrack_ros/msg/CouchStatus",
        "beam_status": "lmtrack_ros/msg/BeamStatus",
        "diagnostics": "diagnostic_msgs/msg/DiagnosticArray",
        "/clock": "rosgraph_msgs/msg/Clock",
    }
)
"""The topics of the package and what they carry."""


def make_plain(type_name: str, **fields: Any) -> Message:
    """Return a message as a plain object, where there is neither ROS nor a recording."""
    return SimpleNamespace(**fields)


def stamp_ns(time: Message) -> int:
    """Return a builtin_interfaces/Time in ns."""
    return int(time.sec) * NS_PER_S + int(time.nanosec)


def clock(make: Make, ns: int) -> Message:
    """Return a rosgraph_msgs/Clock."""
    return make("rosgraph_msgs/msg/Clock", clock=_time(make, ns))


def _time(make: Make, ns: int) -> Message:
    sec, nanosec = divmod(ns, NS_PER_S)
    return make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)


def _header(make: Make, ns: int, frame_id: str) -> Message:
    return make("std_msgs/msg/Header", stamp=_time(make, ns), frame_id=frame_id)


def _point(make: Make, xyz_mm: ArrayLike) -> Message:
    x, y, z = (float(v) * _M_PER_MM for v in np.asarray(xyz_mm))
    return make("geometry_msgs/msg/Point", x=x, y=y, z=z)


def _vector(make: Make, xyz: ArrayLike) -> Message:
    x, y, z = (float(v) for v in np.asarray(xyz))
    return make("geometry_msgs/msg/Vector3", x=x, y=y, z=z)


def _mm(xyz: Message) -> NDArray[np.float64]:
    return np.array([xyz.x, xyz.y, xyz.z], dtype=float) / _M_PER_MM


# images ------------------------------------------------------------------------------------------

_ENCODINGS: Mapping[str, str] = MappingProxyType({"uint8": "mono8", "uint16": "mono16", "float32": "32FC1"})
_DTYPES: Mapping[str, str] = MappingProxyType(
    {
        "mono8": "u1",
        "8UC1": "u1",
        "mono16": "u2",
        "16UC1": "u2",
        "32FC1": "f4",
        "rgb8": "u1",
        "bgr8": "u1",
        "rgba8": "u1",
        "bgra8": "u1",
    }
)
_TO_GREY: Mapping[str, int] = MappingProxyType(
    {
        "rgb8": cv2.COLOR_RGB2GRAY,
        "bgr8": cv2.COLOR_BGR2GRAY,
        "rgba8": cv2.COLOR_RGBA2GRAY,
        "bgra8": cv2.COLOR_BGRA2GRAY,
    }
)


def _encoding(image: NDArray[np.generic]) -> str:
    if image.dtype.name not in _ENCODINGS:
        raise UserError(f"images are uint8, uint16 or float32, not {image.dtype.name}")
    return _ENCODINGS[image.dtype.name]


def image(make: Make, pixels: NDArray[np.generic], ns: int, frame_id: str) -> Message:
    """Return a sensor_msgs/Image of (H, W) uint8, uint16 or float32 pixels."""
    height, width = pixels.shape
    return make(
        "sensor_msgs/msg/Image",
        header=_header(make, ns, frame_id),
        height=height,
        width=width,
        encoding=_encoding(pixels),
        is_bigendian=0,
        step=width * pixels.itemsize,
        # assigning an ndarray would be converted element by element
        data=array.array("B", pixels.tobytes()),
    )


def read_image(msg: Message) -> NDArray[np.generic]:
    """Return the (H, W) grey pixels of a sensor_msgs/Image, a view of its data where possible.

    Raises:
        UserError: the encoding is not known, or the data is shorter than the header says.
    """
    if msg.encoding not in _DTYPES:
        raise UserError(f"image encoding '{msg.encoding}' is not among {', '.join(_DTYPES)}")
    dtype = np.dtype((">" if msg.is_bigendian else "<") + _DTYPES[msg.encoding])
    channels = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4}.get(msg.encoding, 1)
    row_bytes = msg.width * channels * dtype.itemsize
    data = np.frombuffer(msg.data, np.uint8)
    if msg.step < row_bytes or data.size < msg.height * msg.step or msg.height * row_bytes == 0:
        raise UserError(
            f"image of {msg.width}x{msg.height} {msg.encoding}, step {msg.step}, has only {data.size} bytes"
        )
    rows = data[: msg.height * msg.step].reshape(msg.height, msg.step)[:, :row_bytes]
    pixels = np.ascontiguousarray(rows).view(dtype).reshape(msg.height, msg.width, channels)
    if msg.encoding in _TO_GREY:
        return np.asarray(cv2.cvtColor(pixels, _TO_GREY[msg.encoding]))
    return pixels[:, :, 0].astype(dtype.newbyteorder("="), copy=False)


def volume(make: Make, voxels: NDArray[np.generic], ns: int, frame_id: str) -> Message:
    """Return a VolumeImage of (D, H, W) uint8, uint16 or float32 voxels."""
    depth, height, width = voxels.shape
    return make(
        "lmtrack_ros/msg/VolumeImage",
        header=_header(make, ns, frame_id),
        depth=depth,
        height=height,
        width=width,
        encoding=_encoding(voxels),
        is_bigendian=0,
        data=array.array("B", voxels.tobytes()),
    )


def read_volume(msg: Message) -> NDArray[np.generic]:
    """Return the (D, H, W) voxels of a VolumeImage.

    Raises:
        UserError: the encoding is not known, or the data has another size than the header says.
    """
    if msg.encoding not in _ENCODINGS.values():
        raise UserError(f"volume encoding '{msg.encoding}' is not among {', '.join(_ENCODINGS.values())}")
    dtype = np.dtype((">" if msg.is_bigendian else "<") + _DTYPES[msg.encoding])
    data = np.frombuffer(msg.data, dtype) if len(msg.data) % dtype.itemsize == 0 else np.empty(0)
    if data.size != msg.depth * msg.height * msg.width or data.size == 0:
        raise UserError(
            f"volume of {msg.width}x{msg.height}x{msg.depth} {msg.encoding} has {len(msg.data)} bytes"
        )
    return data.reshape(msg.depth, msg.height, msg.width).astype(dtype.newbyteorder("="), copy=False)


# geometry ----------------------------------------------------------------------------------------

_MOUNTS = (Mount.ROOM, Mount.COUCH, Mount.PATIENT)


def image_geometry(make: Make, geometry: ImageGeometry, ns: int, frame_id: str) -> Message:
    """Return an ImageGeometry message."""
    projection = np.zeros((3, 4)) if geometry.projection is None else geometry.projection.copy()
    projection[:, :3] /= _M_PER_MM
    x, y, z, w = frames.quaternion_from_rotation(geometry.pose[:3, :3])
    return make(
        "lmtrack_ros/msg/ImageGeometry",
        header=_header(make, ns, frame_id),
        modality=geometry.modality.value,
        spacing=np.array(geometry.spacing_mm) * _M_PER_MM,
        mount=_MOUNTS.index(geometry.mount),
        parent_frame=geometry.frame_id,
        pose=make(
            "geometry_msgs/msg/Pose",
            position=_point(make, geometry.pose[:3, 3]),
            orientation=make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w),
        ),
        source_axis_distance=geometry.sad_mm * _M_PER_MM,
        source_image_distance=geometry.sid_mm * _M_PER_MM,
        projection=projection.ravel(),
    )


def read_image_geometry(msg: Message) -> ImageGeometry:
    """Return the record of an ImageGeometry message.

    Raises:
        UserError: the message is not a geometry, such as a default-constructed one.
    """
    if msg.mount not in range(len(_MOUNTS)):
        known = ", ".join(f"{number} ({mount.value})" for number, mount in enumerate(_MOUNTS))
        raise UserError(f"image geometry is unusable: mount is {msg.mount}, not one of {known}")
    q = msg.pose.orientation
    projection = np.array(msg.projection, dtype=float).reshape(3, 4)
    projection[:, :3] *= _M_PER_MM
    try:
        geometry = ImageGeometry(
            modality=Modality(msg.modality),
            spacing_mm=tuple(np.array(msg.spacing, dtype=float) / _M_PER_MM),
            mount=_MOUNTS[msg.mount],
            pose=frames.rigid(frames.rotation_from_quaternion((q.x, q.y, q.z, q.w)), _mm(msg.pose.position)),
            sad_mm=msg.source_axis_distance / _M_PER_MM,
            sid_mm=msg.source_image_distance / _M_PER_MM,
            projection=projection if projection.any() else None,
        )
    except ValueError as error:
        raise UserError(f"image geometry is unusable: {error}") from error
    if msg.parent_frame != geometry.frame_id:
        raise UserError(
            f"image geometry is unusable: the pose of an imager that is fixed to the {geometry.mount.value} "
            f"is in '{geometry.frame_id}', not in '{msg.parent_frame}'"
        )
    return geometry


# landmarks ---------------------------------------------------------------------------------------


def _stamps(make: Make, stamps: LatencyStamps) -> Message:
    return make(
        "lmtrack_ros/msg/LatencyStamps",
        acquired=_time(make, stamps.acquired_ns),
        received=_time(make, stamps.received_ns),
        tracked=_time(make, stamps.tracked_ns),
        decided=_time(make, stamps.decided_ns),
    )


def _read_stamps(msg: Message) -> LatencyStamps:
    return LatencyStamps(*(stamp_ns(t) for t in (msg.acquired, msg.received, msg.tracked, msg.decided)))


def _estimate(make: Make, estimate: Estimate) -> Message:
    return make(
        "lmtrack_ros/msg/LandmarkEstimate",
        id=estimate.id,
        status=int(estimate.status),
        position=_point(make, estimate.position_mm),
        covariance=(estimate.covariance_mm2 * _M_PER_MM**2).ravel(),
        observed=list(estimate.observed),
        pixel=[float(v) for v in estimate.uv_px],
        confidence=float(estimate.confidence),
        radius=float(estimate.radius_mm) * _M_PER_MM,
        contour=[_point(make, corner) for corner in estimate.contour_mm],
        has_second_opinion=estimate.second_opinion_mm is not None,
        second_opinion=_point(
            make, np.zeros(3) if estimate.second_opinion_mm is None else estimate.second_opinion_mm
        ),
    )


def _read_estimate(msg: Message) -> Estimate:
    x, y, z = (bool(v) for v in msg.observed)
    return Estimate(
        id=msg.id,
        # a status from a newer interface is not one to trust
        status=Status(msg.status) if msg.status in iter(Status) else Status.LOST,
        uv_px=tuple(float(v) for v in msg.pixel),
        position_mm=_mm(msg.position),
        covariance_mm2=np.array(msg.covariance, dtype=float).reshape(3, 3) / _M_PER_MM**2,
        observed=(x, y, z),
        confidence=float(msg.confidence),
        radius_mm=float(msg.radius) / _M_PER_MM,
        contour_mm=np.array([_mm(corner) for corner in msg.contour]).reshape(-1, 3),
        second_opinion_mm=_mm(msg.second_opinion) if msg.has_second_opinion else None,
    )


def landmark_array(make: Make, landmarks: LandmarkSet) -> Message:
    """Return a LandmarkArray message."""
    return make(
        "lmtrack_ros/msg/LandmarkArray",
        header=_header(make, landmarks.stamp_ns, landmarks.frame_id),
        model=landmarks.model,
        estimates=[_estimate(make, e) for e in landmarks.estimates],
        stamps=_stamps(make, landmarks.stamps),
        faults=int(landmarks.faults),
        session=landmarks.session,
        marking=landmarks.marking,
    )


def read_landmark_array(msg: Message) -> LandmarkSet:
    """Return the record of a LandmarkArray message."""
    return LandmarkSet(
        stamp_ns=stamp_ns(msg.header.stamp),
        estimates=tuple(_read_estimate(e) for e in msg.estimates),
        frame_id=msg.header.frame_id,
        model=msg.model,
        stamps=_read_stamps(msg.stamps),
        faults=Reason(int(msg.faults)),
        session=int(msg.session),
        marking=int(msg.marking),
    )


def initial_landmarks(make: Make, marked: MarkedLandmarks, frame_id: str) -> Message:
    """Return a LandmarkArray that marks landmarks on a frame.

    Its frame is the imager's, so ``observed`` are image axes; only pixels are given.
    """
    estimates = tuple(
        Estimate(
            landmark.id,
            Status.TRACKED,
            landmark.uv_px,
            observed=cast("tuple[bool, bool, bool]", (*landmark.axes, False)[:3]),
            confidence=1.0,
        )
        for landmark in marked.landmarks
    )
    return landmark_array(make, LandmarkSet(marked.stamp_ns, estimates, frame_id, model="operator"))


def read_initial_landmarks(msg: Message) -> MarkedLandmarks:
    """Return the landmarks that :func:`initial_landmarks` marked.

    Raises:
        UserError: a landmark has neither two nor three coordinates.
    """
    estimates = read_landmark_array(msg).estimates
    for e in estimates:
        if len(e.uv_px) not in (2, 3):
            raise UserError(f"initial landmark '{e.id}' has {len(e.uv_px)} pixel coordinates, not 2 or 3")
    landmarks = tuple(Landmark(e.id, e.uv_px, e.observed[: len(e.uv_px)]) for e in estimates)
    return MarkedLandmarks(landmarks, stamp_ns(msg.header.stamp))


# decisions ---------------------------------------------------------------------------------------


def gate_decision(make: Make, decision: GateDecision) -> Message:
    """Return a GateDecision message."""
    return make(
        "lmtrack_ros/msg/GateDecision",
        header=_header(make, decision.stamp_ns, ISOCENTER),
        session=decision.session,
        sequence=decision.sequence,
        state=int(decision.state),
        reasons=int(decision.reasons),
        valid_until=_time(make, decision.valid_until_ns),
        margin=float(decision.margin_mm) * _M_PER_MM,
        target=_point(make, decision.target_mm),
        horizon=float(decision.horizon_ms) * _S_PER_MS,
        stamps=_stamps(make, decision.stamps),
    )


def read_gate_decision(msg: Message) -> GateDecision:
    """Return the record of a GateDecision message; a state it does not know is HOLD."""
    return GateDecision(
        stamp_ns=stamp_ns(msg.header.stamp),
        session=int(msg.session),
        sequence=int(msg.sequence),
        state=GateState.BEAM_ON if msg.state == GateState.BEAM_ON else GateState.HOLD,
        reasons=Reason(int(msg.reasons)),
        valid_until_ns=stamp_ns(msg.valid_until),
        margin_mm=float(msg.margin) / _M_PER_MM,
        target_mm=_mm(msg.target),
        horizon_ms=float(msg.horizon) / _S_PER_MS,
        stamps=_read_stamps(msg.stamps),
    )


def audit_entry(make: Make, entry: AuditEntry) -> Message:
    """Return an AuditEntry message."""
    return make(
        "lmtrack_ros/msg/AuditEntry",
        header=_header(make, entry.stamp_ns, ""),
        session=entry.session,
        action=entry.action,
        accepted=entry.accepted,
        message=entry.message,
        reasons=int(entry.reasons),
    )


def read_audit_entry(msg: Message) -> AuditEntry:
    """Return the record of an AuditEntry message."""
    return AuditEntry(
        stamp_ns=stamp_ns(msg.header.stamp),
        session=int(msg.session),
        action=msg.action,
        accepted=bool(msg.accepted),
        message=msg.message,
        reasons=Reason(int(msg.reasons)),
    )


def couch_shift(make: Make, shift: CouchShift) -> Message:
    """Return a CouchShift message; the couch is not rotated."""
    return make(
        "lmtrack_ros/msg/CouchShift",
        header=_header(make, shift.stamp_ns, ISOCENTER),
        session=shift.session,
        sequence=shift.sequence,
        mode=int(shift.mode),
        translation=_vector(make, shift.target_mm * _M_PER_MM),
        rotation=_vector(make, np.zeros(3)),
        delta=_vector(make, shift.delta_mm * _M_PER_MM),
        rotation_order=0,
        axes=[*shift.axes, False, False, False],
        speed_limit=float(shift.speed_limit_mm_s) * _M_PER_MM,
        valid_until=_time(make, shift.valid_until_ns),
    )


def read_couch_shift(msg: Message) -> CouchShift:
    """Return the record of a CouchShift message; a mode it does not know is NONE."""
    x, y, z = (bool(v) for v in list(msg.axes)[:3])
    return CouchShift(
        stamp_ns=stamp_ns(msg.header.stamp),
        session=int(msg.session),
        sequence=int(msg.sequence),
        mode=CouchMode(msg.mode) if msg.mode in iter(CouchMode) else CouchMode.NONE,
        target_mm=_mm(msg.translation),
        delta_mm=_mm(msg.delta),
        axes=(x, y, z),
        speed_limit_mm_s=float(msg.speed_limit) / _M_PER_MM,
        valid_until_ns=stamp_ns(msg.valid_until),
    )


def couch_status(make: Make, status: CouchStatus) -> Message:
    """Return a CouchStatus message; the couch is not rotated."""
    return make(
        "lmtrack_ros/msg/CouchStatus",
        header=_header(make, status.stamp_ns, ISOCENTER),
        translation=_vector(make, status.position_mm * _M_PER_MM),
        rotation=_vector(make, np.zeros(3)),
        moving=status.moving,
        fault=status.fault,
        acknowledged_session=status.acknowledged_session,
        acknowledged_sequence=status.acknowledged_sequence,
    )


def read_couch_status(msg: Message) -> CouchStatus:
    """Return the record of a CouchStatus message.

    A rotated couch comes back as a fault, for the gate takes out translations only; so does a position
    that is not finite.
    """
    position_mm = _mm(msg.translation)
    fault = msg.fault
    # written so that NaN is rotated
    if not fault and not all(abs(v) <= 1e-6 for v in (msg.rotation.x, msg.rotation.y, msg.rotation.z)):
        fault = "couch is rotated"
    if not fault and not np.isfinite(position_mm).all():
        fault = "position is not finite"
    return CouchStatus(
        stamp_ns=stamp_ns(msg.header.stamp),
        position_mm=position_mm,
        moving=bool(msg.moving),
        fault=fault,
        acknowledged_session=int(msg.acknowledged_session),
        acknowledged_sequence=int(msg.acknowledged_sequence),
    )

"""Fits: bias, scale, mounting and ellipsoid of a sensor out of a few readings, by least squares."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FACES = {
    "+Z": (0.0, 0.0, 1.0),
    "-Z": (0.0, 0.0, -1.0),
    "+X": (1.0, 0.0, 0.0),
    "-X": (-1.0, 0.0, 0.0),
    "+Y": (0.0, 1.0, 0.0),
    "-Y": (0.0, -1.0, 0.0),
}
"""The side of the device that looks up, and up as the device has it: what a sensor at rest feels is 1 g upwards."""

_MOST_RESIDUAL = 0.05
_MOST_SCALE = 0.25
_LEAST_POINTS = 100
_LEAST_SPREAD = 0.08
"""Least eigenvalue of the directions' covariance: a third each where they are spread evenly, 0 where in a plane."""


def accelerometer(readings: Floats, one_g: float) -> dict[str, Any]:
    """bias, scale, mounting and matrix from the mean readings on the six FACES, in their order.

    `readings` has shape (6, 3), in the sensor's axes and unit; `one_g` is 1 g in that unit. The mounting turns the
    sensor's axes into the device's. ValueError says what was wrong with the procedure.
    """
    up = np.array(list(FACES.values())) * one_g
    found, *_ = np.linalg.lstsq(np.column_stack([up, np.ones(len(up))]), readings, rcond=None)
    rows, bias = found[:3].T, found[3]  # reading = rows @ up + bias
    lengths = np.linalg.norm(rows, axis=1)
    if np.any(np.abs(lengths - 1) > _MOST_SCALE):
        raise ValueError(
            f"an axis reads {lengths.round(2).tolist()} of 1 g: was each side once up, in the order asked?"
        )
    left, _, right = np.linalg.svd((rows / lengths[:, np.newaxis]).T)
    mounting = left @ right
    if np.linalg.det(mounting) < 0:
        raise ValueError("the axes come out as a mirror image: two opposite sides were taken for one another")
    scale = 1 / lengths
    matrix = mounting * scale
    residual = float(np.sqrt(np.mean(np.sum(((readings - bias) @ matrix.T - up) ** 2, axis=1))) / one_g)
    if residual > _MOST_RESIDUAL:
        raise ValueError(
            f"the readings are {residual:.2f} g off from any such sensor: was each side up, in the order asked?"
        )
    return {**_numbers(bias=bias, matrix=matrix, scale=scale, mounting=mounting), "residual": residual * one_g}


def magnetometer(points: Floats) -> dict[str, Any]:
    """bias and matrix that turn the ellipsoid on which the points lie into a sphere of the same volume.

    `points` has shape (n, 3). ValueError where they do not show one: too few, or not from all directions.
    """
    points = np.unique(points, axis=0)
    if len(points) < _LEAST_POINTS:
        raise ValueError(
            f"only {len(points)} different readings came, and {_LEAST_POINTS} are needed: go on for longer"
        )
    middle, size = points.mean(axis=0), float(points.std()) or 1.0
    x, y, z = ((points - middle) / size).T
    terms = np.column_stack([x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z, 2 * x, 2 * y, 2 * z])
    (a, b, c, d, e, f, *slope), *_ = np.linalg.lstsq(terms, np.ones(len(points)), rcond=None)
    form = np.array([[a, d, e], [d, b, f], [e, f, c]])
    narrow = "the readings do not come from all directions: turn it slowly through a lying eight, about every axis"
    if abs(np.linalg.det(form)) < 1e-12:
        raise ValueError(narrow)
    centre = -np.linalg.solve(form, np.array(slope))
    values, axes = np.linalg.eigh(form / (1 + centre @ form @ centre))
    if values.min() <= 0:
        raise ValueError(narrow)
    radius = float(np.prod(values) ** (-1 / 6))
    matrix = (axes * np.sqrt(values) * radius) @ axes.T
    bias = middle + size * centre
    lengths = np.linalg.norm((points - bias) @ matrix.T, axis=1)
    directions = (points - bias) @ matrix.T / lengths[:, np.newaxis]
    if np.linalg.eigvalsh(np.cov(directions.T)).min() < _LEAST_SPREAD:
        raise ValueError(narrow)
    residual = float(np.sqrt(np.mean((lengths - radius * size) ** 2)))
    if residual > 0.1 * radius * size:
        raise ValueError("the readings lie on no ellipsoid: was there iron, a motor or a phone close by?")
    return {**_numbers(bias=bias, matrix=matrix), "residual": residual, "samples": len(points)}


def _numbers(**arrays: Floats) -> dict[str, Any]:
    return {name: array.tolist() for name, array in arrays.items()}

"""What comes before the units and after them: stem, pooling, means, logits."""

from __future__ import annotations

import numpy as np

from sact_core.backends.masked.kernels import conv
from sact_core.backends.masked.kernels import layout as at
from sact_core.backends.masked.kernels.conv import TO_FLOATS, TO_RESULTS, TO_SCRATCH, Product
from sact_core.backends.masked.kernels.cpu import (
    NINE,
    NO_CAP,
    ONE,
    SEVEN,
    SIX,
    SIXTEEN,
    THREE,
    UNIT_SLOPE,
    ZERO,
    kernel,
)


@kernel
def load_image(work, image):
    """Copy an image into a padded map of three channels."""
    net = work.net
    height, width = net[at.HEIGHT], net[at.WIDTH]
    border = 3 if net[at.BOTTLENECK] else 1
    row = (width + 2 * border) * 3
    zero_border(work.floats, net[at.IMAGE_AT], height, width, THREE, border)
    for y in range(height):
        start = net[at.IMAGE_AT] + (y + border) * row + border * 3
        for x in range(width):
            for c in range(3):
                work.floats[start + x * 3 + c] = work.images[image, y, x, c]


@kernel
def stem_of_basic(work, first, rows):
    """3x3 convolution of the image, at listed places."""
    net = work.net
    row = (net[at.WIDTH] + 2) * 3
    list_at = net[at.ACTIVE_LIST] + first
    channels = net[at.STEM_COUT]
    return Product(
        rows, False, net[at.IMAGE_AT] - row - 3, THREE, list_at, THREE, row, NINE,
        net[at.STEM_W], net[at.STEM_B], channels,
        TO_FLOATS, work.blocks[0, at.B_IN_AT], channels, list_at, UNIT_SLOPE, NO_CAP,
    )  # fmt: skip


@kernel
def stem_rows(work, pooled_row, num_rows):
    """Which rows of the stem some pooled rows are taken from, first and last + 1."""
    height = work.net[at.STEM_HEIGHT]
    top = height % 2  # "same" pads nothing before an even side
    begin = max(2 * pooled_row - top, 0)
    return begin, min(2 * (pooled_row + num_rows - 1) - top + 3, height)


@kernel
def stem_of_bottleneck(work, begin, y):
    """7x7 convolution of stride 2, for row ``y``, into scratch that begins at row ``begin``."""
    net = work.net
    width, channels = net[at.STEM_WIDTH], net[at.STEM_COUT]
    row = (net[at.WIDTH] + 6) * 3
    return Product(
        width, False, net[at.IMAGE_AT] + 2 * y * row, SIX, net[at.IOTA_LIST], SEVEN, row, SEVEN * 3,
        net[at.STEM_W], net[at.STEM_B], channels,
        TO_SCRATCH, (y - begin) * width * channels, channels, net[at.IOTA_LIST], UNIT_SLOPE, NO_CAP,
    )  # fmt: skip


@kernel
def pool_task(work, task):
    """3x3 max pooling of stride 2 of the rows that a task has put in scratch."""
    net = work.net
    pooled_row = task * at.POOL_ROWS
    num_rows = min(at.POOL_ROWS, work.blocks[0, at.B_IN_HEIGHT] - pooled_row)
    begin, _ = stem_rows(work, pooled_row, num_rows)
    height, width, channels = net[at.STEM_HEIGHT], net[at.STEM_WIDTH], net[at.STEM_COUT]
    pooled_width = work.blocks[0, at.B_IN_WIDTH]
    top, left = height % 2, width % 2
    for j in range(pooled_row, pooled_row + num_rows):
        for i in range(pooled_width):
            target = work.blocks[0, at.B_IN_AT]
            target += ((j + 1) * (pooled_width + 2) + i + 1) * channels
            fresh = True
            for y in range(max(2 * j - top, 0), min(2 * j - top + 3, height)):
                for x in range(max(2 * i - left, 0), min(2 * i - left + 3, width)):
                    start = ((y - begin) * width + x) * channels
                    if fresh:
                        conv.copy(work.vectors, channels, work.scratch, start, work.floats, target)
                    else:
                        conv.largest(
                            work.vectors, channels, work.scratch, start, work.floats, target
                        )
                    fresh = False


@kernel
def mean_features(work, channel):
    """Mean over the last map, normalised before or after, for 16 channels."""
    net, block = work.net, work.blocks[-1]
    height, width, channels = block[at.B_HEIGHT], block[at.B_WIDTH], block[at.B_COUT]
    slope = work.weights[net[at.POSTNORM_SLOPE_AT]]
    scale, shift = net[at.POSTNORM_AT] + channel, net[at.POSTNORM_AT] + channels + channel
    if net[at.MEAN_FIRST]:  # here normalise nothing
        scale, shift, slope = net[at.ONES_AT], net[at.ZEROS_AT], UNIT_SLOPE
    floats, scratch, features = work.floats, work.scratch, net[at.FEATURES_AT] + channel
    totals = work.totals  # of the state, no longer needed
    for c in range(16):
        totals[channel + c] = 0
    for y in range(1, height + 1):
        start = block[at.B_OUT_AT] + y * (width + 2) * channels + channel
        for c in range(16):
            scratch[16 + c] = 0
        for x in range(1, width + 1):
            conv.normalise(
                work.vectors, ONE, SIXTEEN, floats, start + x * channels, ZERO, net[at.NULL_LIST],
                work.weights, scale, shift, slope, NO_CAP,
                scratch, ZERO, ZERO, net[at.NULL_LIST], work.places,
            )  # fmt: skip
            conv.add(work.vectors, SIXTEEN, scratch, ZERO, scratch, SIXTEEN)
        for c in range(16):
            totals[channel + c] += scratch[16 + c]
    for c in range(16):
        value = np.float32(totals[channel + c] / (height * width))
        if net[at.MEAN_FIRST]:
            value = value * work.weights[net[at.POSTNORM_AT] + channel + c]
            value += work.weights[net[at.POSTNORM_AT] + channels + channel + c]
            leaked = value * work.weights[net[at.POSTNORM_SLOPE_AT]]
            value = value if value > leaked else leaked
        floats[features + c] = value


@kernel
def logits(work, image):
    """The last 1x1 convolution."""
    net = work.net
    return Product(
        ONE, False, net[at.FEATURES_AT], ZERO, net[at.NULL_LIST], ONE, ZERO,
        work.blocks[-1, at.B_COUT], net[at.LOGITS_W], net[at.LOGITS_B], net[at.CLASSES],
        TO_RESULTS, image * net[at.CLASSES], ZERO, net[at.NULL_LIST], UNIT_SLOPE, NO_CAP,
    )  # fmt: skip


@kernel
def keep_output(work, b, image):
    """Copy a block's output, without its border, into the results."""
    block = work.blocks[b]
    height, width, channels = block[at.B_HEIGHT], block[at.B_WIDTH], block[at.B_COUT]
    for y in range(height):
        x = block[at.B_OUT_AT] + ((y + 1) * (width + 2) + 1) * channels
        target = block[at.B_OUTPUT] + (image * height + y) * width * channels
        for i in range(width * channels):
            work.results[target + i] = work.floats[x + i]


@kernel
def zero_border(floats, start, height, width, channels, border):
    """Set the border of a padded map to zero."""
    row = (width + 2 * border) * channels
    side = border * channels
    for i in range(border * row):
        floats[start + i] = 0
        floats[start + (height + border) * row + i] = 0
    for y in range(border, height + border):
        for i in range(side):
            floats[start + y * row + i] = 0
            floats[start + (y + 1) * row - side + i] = 0


@kernel
def fill(array, start, count, value):
    """Set ``count`` elements to one value."""
    for i in range(start, start + count):
        array[i] = value

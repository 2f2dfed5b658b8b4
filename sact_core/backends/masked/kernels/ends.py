"""What comes before the units and after them: stem, pooling, means, logits."""

from __future__ import annotations

import numpy as np

from sact_core.backends.masked.kernels import conv, plain
from sact_core.backends.masked.kernels import layout as at
from sact_core.backends.masked.kernels.conv import TO_FLOATS, TO_RESULTS, TO_SCRATCH, Product
from sact_core.backends.masked.kernels.cpu import (
    NO_CAP,
    NOTHING,
    ONE,
    SIXTEEN,
    THREE,
    UNIT_SLOPE,
    ZERO,
    at_once,
    kernel,
)


@kernel
def load_image(work, image):
    """Copy an image into a padded map of three channels."""
    net = work.net
    height, width, border = net[at.HEIGHT], net[at.WIDTH], net[at.BORDER]
    row = (width + 2 * border) * 3
    fill_border(work.floats, net[at.IMAGE_AT], height, width, THREE, border, ZERO)
    for y in range(height):
        start = net[at.IMAGE_AT] + (y + border) * row + border * 3
        for x in range(width):
            for c in range(3):
                work.floats[at_once(start + x * 3 + c)] = work.images[image, y, x, c]


@kernel
def stem_rows(work, first, num_rows):
    """Which rows of the stem some rows of the first map are taken from, first and last + 1."""
    height = work.net[at.STEM_HEIGHT]
    if not work.net[at.POOLS]:
        return first, first + num_rows
    top = height % 2  # "same" pads nothing before an even side
    begin = max(2 * first - top, 0)
    return begin, min(2 * (first + num_rows - 1) - top + 3, height)


@kernel
def stem(work, begin, y):
    """Convolution of the image for row ``y``: of the first map, or of scratch from ``begin`` on."""
    net = work.net
    width, channels, side = net[at.STEM_WIDTH], net[at.STEM_COUT], net[at.STEM_SIDE]
    row = (net[at.WIDTH] + 2 * net[at.BORDER]) * 3
    x0 = net[at.IMAGE_AT] + net[at.STEM_CORNER] + net[at.STEM_STRIDE] * y * row
    target, y0 = TO_SCRATCH, (y - begin) * width * channels
    if not net[at.POOLS]:
        target, y0 = TO_FLOATS, work.blocks[0, at.B_IN_AT] + ((y + 1) * (width + 2) + 1) * channels
    after = net[at.STEM_B] + channels
    return Product(
        width, False, x0, net[at.STEM_STRIDE] * 3, net[at.IOTA_LIST], side, row, side * 3,
        net[at.STEM_W], net[at.STEM_B], ZERO, channels, target, y0, channels, net[at.IOTA_LIST],
        work.weights[after], work.weights[after + 1], NOTHING,
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
    height, width, channels = block[at.B_HEIGHT], block[at.B_WIDTH], net[at.LAST_COUT]
    norm = net[at.POSTNORM_AT]
    scale, shift, after = norm + channel, norm + channels + channel, norm + 2 * channels
    if net[at.MEAN_FIRST]:  # here normalise nothing
        scale, shift, after = net[at.ONES_AT], net[at.ZEROS_AT], net[at.NEUTRAL_AT]
    slope, cap = work.weights[after], work.weights[after + 1]
    floats, scratch, features = work.floats, work.scratch, net[at.FEATURES_AT] + channel
    totals = work.totals  # of the state, no longer needed
    for c in range(16):
        totals[channel + c] = 0
    for y in range(1, height + 1):
        start = net[at.LAST_AT] + y * (width + 2) * channels + channel
        for c in range(16):
            scratch[16 + c] = 0
        for x in range(1, width + 1):
            conv.normalise(
                work.vectors, ONE, SIXTEEN, floats, start + x * channels, ZERO, net[at.NULL_LIST],
                work.weights, scale, shift, slope, cap, NOTHING,
                scratch, ZERO, ZERO, net[at.NULL_LIST], work.places,
            )  # fmt: skip
            conv.add(work.vectors, SIXTEEN, scratch, ZERO, scratch, SIXTEEN)
        for c in range(16):
            totals[channel + c] += scratch[16 + c]
    for c in range(16):
        value = np.float32(totals[channel + c] / (height * width))
        if net[at.MEAN_FIRST]:
            value = value * work.weights[norm + channel + c]
            value += work.weights[norm + channels + channel + c]
            after = norm + 2 * channels
            value = plain.activate(value, work.weights[after], work.weights[after + 1])
        floats[features + c] = value


@kernel
def logits(work, image):
    """The last 1x1 convolution."""
    net = work.net
    return Product(
        ONE, False, net[at.FEATURES_AT], ZERO, net[at.NULL_LIST], ONE, ZERO,
        net[at.LAST_COUT], net[at.LOGITS_W], net[at.LOGITS_B], ZERO, net[at.CLASSES],
        TO_RESULTS, image * net[at.CLASSES], ZERO, net[at.NULL_LIST],
        UNIT_SLOPE, NO_CAP, NOTHING,
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
def fill_border(array, start, height, width, channels, border, value):
    """Set the border of a padded map to one value."""
    row = (width + 2 * border) * channels
    side = border * channels
    for i in range(border * row):
        array[at_once(start + i)] = value
        array[at_once(start + (height + border) * row + i)] = value
    for y in range(border, height + border):
        for i in range(side):
            array[at_once(start + y * row + i)] = value
            array[at_once(start + (y + 1) * row - side + i)] = value


@kernel
def fill(array, start, count, value):
    """Set ``count`` elements to one value."""
    for i in range(start, start + count):
        array[at_once(i)] = value

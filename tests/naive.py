"""Slow restatements of the algorithms, in plain Python loops.

Written from the paper's equations and the authors' conventions alone: nothing
here imports the code that it checks.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np


def halt(halting_proba, eps):
    """Run the halting rule on one list of probabilities, in float32.

    Returns ``(distribution, num_units, remainder)``.
    """
    threshold = np.float32(1 - eps)
    units = len(halting_proba) + 1
    cumsum, remainder = np.float32(0), np.float32(1)
    distribution = [np.float32(0)] * units
    for u in range(units):
        if u < units - 1:
            cumsum = cumsum + np.float32(halting_proba[u])
            if cumsum < threshold:
                distribution[u] = np.float32(halting_proba[u])
                remainder = remainder - np.float32(halting_proba[u])
                continue
        distribution[u] = remainder
        return distribution, u + 1, remainder
    raise AssertionError("the last unit stops everybody")


def num_grown(active):
    """Count the positions of a map that touch an active one, corners included."""
    height, width = active.shape
    count = 0
    for i in range(height):
        for j in range(width):
            around = [
                active[a, b]
                for a in range(max(i - 1, 0), min(i + 2, height))
                for b in range(max(j - 1, 0), min(j + 2, width))
            ]
            count += any(around)
    return count


def cifar_sact_flops(num_units, units_per_block, base_channels, num_classes, kernel_size):
    """FLOPs of one image in a CIFAR SACT network, from its maps of ``num_units``.

    ``num_units`` is a list of integer maps, one per block. Returns the total and
    a list of FLOPs per block.
    """
    per_block = []
    channels = base_channels
    for b, (counts, units) in enumerate(zip(num_units, units_per_block, strict=True)):
        width = base_channels * 2**b
        flops = 0
        for u in range(units):
            if u == 0:  # no mask
                num_active = num_near = counts.size
            else:
                active = counts > u  # what was not finished before this unit
                num_active, num_near = int(active.sum()), num_grown(active)
            flops += 2 * num_near * 9 * channels * width  # conv1
            flops += 2 * num_active * 9 * width * width  # conv2
            if u < units - 1:
                flops += 2 * num_active * kernel_size**2 * width  # halting, local
                flops += 2 * width  # halting, global
            channels = width
        per_block.append(flops)
    stem = 2 * (4 * 4 * num_units[-1].size) * 9 * 3 * base_channels
    logits = 2 * channels * num_classes
    return stem + sum(per_block) + logits, per_block


def imagenet_sact_flops(num_units, units_per_block, base_channels, num_classes, kernel_size, size):
    """FLOPs of one image in an ImageNet SACT network, as `cifar_sact_flops`.

    ``size`` is the height and width of the input, here multiples of 32.
    """
    height, width = size
    stem = 2 * (height // 2) * (width // 2) * 49 * 3 * 64
    inputs = (height // 4) * (width // 4)
    channels = 64
    per_block = []
    for b, (counts, units) in enumerate(zip(num_units, units_per_block, strict=True)):
        narrow = base_channels * 2**b
        depth = 4 * narrow
        flops = 0
        for u in range(units):
            if u == 0:
                num_active = counts.size
                num_near = inputs  # conv1 runs before the stride
                if b or channels != depth:
                    flops += 2 * num_active * channels * depth  # shortcut
            else:
                active = counts > u
                num_active, num_near = int(active.sum()), num_grown(active)
            flops += 2 * num_near * channels * narrow  # conv1
            flops += 2 * num_active * 9 * narrow * narrow  # conv2
            flops += 2 * num_active * narrow * depth  # conv3
            if u < units - 1:
                flops += 2 * num_active * kernel_size**2 * depth
                flops += 2 * depth
            channels = depth
        inputs = counts.size
        per_block.append(flops)
    return stem + sum(per_block) + 2 * channels * num_classes, per_block


def conv(x, weight, stride, pads):
    """Convolve in loops, in float64; ``pads`` are zeros before and after each axis."""
    (top, bottom), (left, right) = pads
    n, h, w, _ = x.shape
    kernel_h, kernel_w, _, num_out = weight.shape
    height = (h + top + bottom - kernel_h) // stride + 1
    width = (w + left + right - kernel_w) // stride + 1
    y = np.zeros((n, height, width, num_out))
    for i in range(height):
        for j in range(width):
            for a in range(kernel_h):
                for b in range(kernel_w):
                    row, column = i * stride + a - top, j * stride + b - left
                    if 0 <= row < h and 0 <= column < w:
                        y[:, i, j] += x[:, row, column].astype(float) @ weight[a, b].astype(float)
    return y


def max_pool(x):
    """Take the largest of 3x3 with stride 2, TensorFlow's "same" padding."""
    n, h, w, c = x.shape
    height, width = -(-h // 2), -(-w // 2)
    y = np.empty((n, height, width, c), x.dtype)
    for i in range(height):
        for j in range(width):
            # An even side is padded behind only, an odd one on both sides.
            row, column = 2 * i - h % 2, 2 * j - w % 2
            y[:, i, j] = x[:, max(row, 0) : row + 3, max(column, 0) : column + 3].max((1, 2))
    return y


def resize_bilinear(image, size):
    """Resize one image, source coordinate = index * size ratio, in float64."""
    h, w, _ = image.shape
    out = np.empty((*size, image.shape[2]))
    for i in range(size[0]):
        for j in range(size[1]):
            y, x = i * h / size[0], j * w / size[1]
            a, b = int(y), int(x)
            c, d = min(a + 1, h - 1), min(b + 1, w - 1)
            top = image[a, b] * (1 - (x - b)) + image[a, d] * (x - b)
            bottom = image[c, b] * (1 - (x - b)) + image[c, d] * (x - b)
            out[i, j] = top * (1 - (y - a)) + bottom * (y - a)
    return out


def auc_by_pairs(saliency, fixations):
    """Share of pairs of a fixated and another pixel in the right order; a tie counts half."""
    right = pairs = 0
    for fixated in saliency[fixations]:
        for other in saliency[~fixations]:
            right += 1 if fixated > other else 0.5 if fixated == other else 0
            pairs += 1
    return right / pairs


def auc_judd_script(saliency, fixations, rng):
    """Restate the MIT benchmark's script: noise against ties, lines between fixated values."""
    values = saliency + rng.random(saliency.shape) / 10_000_000
    fixated = sorted(values[fixations], reverse=True)
    curve = [(0.0, 0.0)]
    for i, threshold in enumerate(fixated, start=1):
        above = int((values >= threshold).sum())
        curve.append(((above - i) / (values.size - len(fixated)), i / len(fixated)))
    curve.append((1.0, 1.0))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(curve):
        area += (x1 - x0) * (y0 + y1) / 2
    return area


def conv_in_groups(x, weight, stride, pads, groups):
    """Convolve each group of channels with its own columns; ``weight`` [kh, kw, in of one, out]."""
    parts = np.split(x, groups, axis=3), np.split(weight, groups, axis=3)
    return np.concatenate([conv(a, b, stride, pads) for a, b in zip(*parts, strict=True)], axis=3)


def conv_of_pairs(x, weight, stride, pads):
    """Convolve a map [h, w, cin] of bfloat16 numbers, every two input channels a pair."""
    kh, kw, cin, cout = weight.shape
    odd = (0, cin % 2)
    x = np.pad(x, (*pads, odd))
    weight = np.pad(weight, ((0, 0), (0, 0), odd, (0, 0)))
    height, width = ((n - k) // stride + 1 for n, k in zip(x.shape, (kh, kw), strict=False))
    total = np.zeros((height, width, cout), np.float32)
    for a in range(kh):
        for b in range(kw):
            rows = slice(a, a + (height - 1) * stride + 1, stride)
            columns = slice(b, b + (width - 1) * stride + 1, stride)
            for k in range(0, cin, 2):
                pairs = x[rows, columns, None, k : k + 2], weight[a, b, k : k + 2].T
                total = add_products_of_pairs(*pairs, total)
    return total


def add_products_of_pairs(a, b, total):
    """Add the products of pairs of bfloat16 [..., 2] to a float32.

    As VDPBF16PS does: the second's product first, then the first's; each sum is rounded
    to 24 bits, ties to even; what is below the smallest normal number is zero of its
    sign, before and after.
    """

    def or_zero(x):
        return np.where(np.abs(x) < 2.0**-126, np.copysign(0, x), x)

    a, b, total = (or_zero(np.asarray(each, np.float64)) for each in (a, b, total))
    for which in (1, 0):
        mantissa, exponent = np.frexp(total + a[..., which] * b[..., which])
        total = or_zero(np.ldexp(np.rint(np.ldexp(mantissa, 24)), exponent - 24))
        total[np.abs(total) >= 2.0**128] *= np.inf
    return total.astype(np.float32)


def to_bfloat16(x):
    """The nearest bfloat16 of float32, ties to even; zero below the smallest normal number."""
    x = np.asarray(x, np.float32).astype(np.float64)
    mantissa, exponent = np.frexp(x)
    near = np.ldexp(np.rint(np.ldexp(mantissa, 8)), exponent - 8)
    return np.where(np.abs(x) < 2.0**-126, 0, near).astype(np.float32)


def activate_single(x, slope, cap):
    """The activation of `activate` in float32, every step rounded."""
    return np.minimum(np.maximum(x, x * np.float32(slope)), np.float32(cap))


def activate(x, slope, cap=np.inf):
    """Leaky ReLU with a largest value, number by number."""
    y = np.array(x, float)
    for index, value in np.ndenumerate(y):
        y[index] = min(value if value > 0 else slope * value, cap)
    return y


def normalise(x, gamma, beta, mean, variance, eps):
    """Batch normalisation with given moments, channel by channel, in float64."""
    y = np.empty(x.shape)
    for c in range(x.shape[-1]):
        deviation = (float(variance[c]) + eps) ** 0.5
        y[..., c] = (x[..., c].astype(float) - mean[c]) / deviation * gamma[c] + beta[c]
    return y


def pool_and_widen(x, channels):
    """Mean of 2x2 [n, h, w, c], then zero channels, the odd one behind."""
    n, h, w, c = x.shape
    front = (channels - c) // 2
    y = np.zeros((n, h // 2, w // 2, channels))
    for i in range(h // 2):
        for j in range(w // 2):
            window = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].astype(float)
            y[:, i, j, front : front + c] = window.reshape(n, 4, c).sum(1) / 4
    return y


def sigmoid(x):
    """Logistic function, number by number, in float64."""
    return np.array([1 / (1 + np.exp(-float(value))) for value in np.ravel(x)]).reshape(np.shape(x))


def grown(active, halo=1):
    """Map [h, w] of the positions within ``halo`` rows and columns of an active one."""
    height, width = active.shape
    out = np.zeros_like(active)
    for i, j in np.argwhere(active):
        for a in range(max(i - halo, 0), min(i + halo + 1, height)):
            for b in range(max(j - halo, 0), min(j + halo + 1, width)):
                out[a, b] = True
    return out


def moments(x, shift):
    """Sums [n, c] of ``x - shift`` over the positions of [n, positions, c], and of its square."""
    away = x.astype(float) - shift
    return away.sum(1), (away * away).sum(1)


def gate(x, residual, output, active, left):
    """A residual added where a position is active, and to the output by its weight."""
    new_x, new_output = x.astype(float), output.astype(float)
    for index in np.ndindex(active.shape):
        new_x[index] += float(active[index]) * residual[index]
        new_output[index] += float(left[index]) * residual[index]
    return new_x, new_output


def gate_gradients(residual, gx, goutput, active, left):
    """Gradients of ``residual`` and ``left`` of `gate`."""
    gresidual, gleft = np.empty(residual.shape), np.empty(active.shape)
    for index in np.ndindex(active.shape):
        gresidual[index] = float(active[index]) * gx[index] + float(left[index]) * goutput[index]
        gleft[index] = residual[index].astype(float) @ goutput[index]
    return gresidual, gleft


def before_activation(z, gradient, slope):
    """What a gradient is before the activation of ``z``."""
    return np.where(z > 0, 1.0, slope) * gradient


def spread_back(glogit, weight):
    """Gradient [n, h, w, c] of what a filter [3, 3, c] of one channel has read."""
    n, height, width = glogit.shape
    out = np.zeros((n, height, width, weight.shape[2]))
    for i in range(height):
        for j in range(width):
            for a in range(3):
                for b in range(3):
                    row, column = i + a - 1, j + b - 1
                    if 0 <= row < height and 0 <= column < width:
                        out[:, row, column] += glogit[:, i, j, None].astype(float) * weight[a, b]
    return out


def filter_gradient(q, glogit):
    """Gradient [n, 3, 3, c], image by image, of a filter that has read ``q`` [n, h, w, c]."""
    n, height, width, channels = q.shape
    out = np.zeros((n, 3, 3, channels))
    for i in range(height):
        for j in range(width):
            for a in range(3):
                for b in range(3):
                    row, column = i + a - 1, j + b - 1
                    if 0 <= row < height and 0 <= column < width:
                        out[:, a, b] += glogit[:, i, j, None].astype(float) * q[:, row, column]
    return out

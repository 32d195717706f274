# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""The only door to the C kernels: checks every shape and offset, then calls C without the GIL."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset


cdef extern from "ek.h" nogil:
    ctypedef struct ek_fc_s8:
        int64_t rows, depth, cols
        const int8_t *weights
        const int32_t *bias
        const int32_t *bias_u8
        const double *scale
        int32_t zero_point, low, high, reaches_min

    ctypedef void ek_fc_s8_fn(const ek_fc_s8 *fc, const int8_t *x, int8_t *out) noexcept
    ctypedef int ek_level
    ctypedef struct ek_kernels:
        ek_fc_s8_fn *fc_s8
    ctypedef struct ek_kernel:
        const char *family
        ek_level level
        ek_fc_s8_fn *fc_s8
    ctypedef struct ek_step:
        int kind
        int64_t input, output
        ek_fc_s8 fc
        int64_t count
        float scale
        int32_t zero_point

    const ek_kernel ek_kernel_list[]
    const int ek_kernel_count
    int EK_LEVELS, EK_TILE, EK_QUAD, EK_ALIGNMENT, EK_MAX_DEPTH
    int EK_FC_S8, EK_QUANTIZE_F32_S8, EK_DEQUANTIZE_S8_F32
    const char *ek_level_name(ek_level level)
    uint32_t ek_known_levels()
    uint32_t ek_cpu_levels()
    void ek_fill_kernels(ek_kernels *table, uint32_t levels)
    void ek_run(const ek_kernels *kernels, const ek_step *steps, int64_t count, uint8_t *arena)

ALIGNMENT = EK_ALIGNMENT
TILE = EK_TILE
QUAD = EK_QUAD
MAX_DEPTH = EK_MAX_DEPTH


cdef tuple _names(uint32_t levels):
    return tuple([ek_level_name(<ek_level>i).decode() for i in range(EK_LEVELS) if levels >> i & 1])


def known_levels():
    """Names of the ISA levels that this architecture has, worst first."""
    return _names(ek_known_levels())


def cpu_levels():
    """Names of those that this CPU can run, worst first."""
    return _names(ek_cpu_levels())


def kernels():
    """(family, level) of every kernel that this CPU can run, from the one list that feeds dispatch too."""
    return [
        (ek_kernel_list[i].family.decode(), ek_level_name(ek_kernel_list[i].level).decode())
        for i in range(ek_kernel_count)
        if ek_cpu_levels() >> ek_kernel_list[i].level & 1
    ]


cdef uint32_t _levels_up_to(str level) except 0:
    """Bits of the CPU's levels up to the one named."""
    names = known_levels()
    if level not in names:
        raise ValueError(f"no ISA level {level!r}, only {', '.join(names)}")
    cdef uint32_t bits = 0
    for i in range(EK_LEVELS):
        bits |= 1u << i
        if ek_level_name(<ek_level>i).decode() == level:
            break
    return bits & ek_cpu_levels()


def best_level(str level):
    """The best level of this CPU that is not above the one named."""
    names = _names(_levels_up_to(level))
    return names[len(names) - 1]


cdef _check(bint true, str what):
    if not true:
        raise ValueError(what)


cdef class FullyConnected:
    """The packed weights of one layer: see `ek_fc_s8` in ek.h, whose contracts are checked here.

    `weights` is (tiles, quads, 16, 4) int8; `bias` and `bias_u8` are (tiles * 16,) int32, `scale` as many
    float64. The arrays are kept alive and must not be written to afterwards.
    """

    cdef ek_fc_s8 fc
    cdef object kept

    def __init__(
        self, int64_t rows, int64_t depth, int64_t cols, const int8_t[:, :, :, ::1] weights,
        const int32_t[::1] bias, const int32_t[::1] bias_u8, const double[::1] scale,
        int32_t zero_point, int32_t low, int32_t high, bint reaches_min,
    ):
        _check(0 <= rows <= 2**31 and 1 <= depth <= EK_MAX_DEPTH and 1 <= cols <= 2**31, "impossible sizes")
        cdef int64_t tiles = (cols + EK_TILE - 1) // EK_TILE, quads = (depth + EK_QUAD - 1) // EK_QUAD
        _check(
            weights.shape[0] == tiles and weights.shape[1] == quads
            and weights.shape[2] == EK_TILE and weights.shape[3] == EK_QUAD, "weights of another shape")
        _check(<uintptr_t>&weights[0, 0, 0, 0] % EK_ALIGNMENT == 0, "weights are not aligned")
        self._check_vector(bias, tiles * EK_TILE)
        self._check_vector(bias_u8, tiles * EK_TILE)
        self._check_scale(scale, tiles * EK_TILE)
        _check(-128 <= zero_point <= 127, "impossible zero point")
        _check(-128 <= low <= high <= 127, "impossible clamp")
        self.fc = ek_fc_s8(
            rows, depth, cols, &weights[0, 0, 0, 0], &bias[0], &bias_u8[0], &scale[0],
            zero_point, low, high, reaches_min)
        self.kept = (weights, bias, bias_u8, scale)

    cdef _check_vector(self, const int32_t[::1] vector, int64_t size):
        _check(vector.shape[0] == size, "a vector of another length")
        _check(<uintptr_t>&vector[0] % EK_ALIGNMENT == 0, "a vector is not aligned")

    cdef _check_scale(self, const double[::1] scale, int64_t size):
        _check(scale.shape[0] == size, "scales of another length")
        _check(<uintptr_t>&scale[0] % EK_ALIGNMENT == 0, "scales are not aligned")
        for i in range(size):
            _check(scale[i] >= 0, "a scale that is negative or not a number")

    def run(self, str level, const int8_t[:, ::1] x, int8_t[:, ::1] out):
        """Run the kernel of exactly this level on x, (rows, depth), into out, (rows, cols)."""
        _check(x.shape[0] == self.fc.rows and x.shape[1] == self.fc.depth, "input of another shape")
        _check(out.shape[0] == self.fc.rows and out.shape[1] == self.fc.cols, "output of another shape")
        cdef ek_fc_s8_fn *kernel = NULL
        for i in range(ek_kernel_count):
            name = ek_level_name(ek_kernel_list[i].level).decode()
            if name == level and ek_cpu_levels() >> ek_kernel_list[i].level & 1:
                kernel = ek_kernel_list[i].fc_s8
        _check(kernel != NULL, f"this CPU has no level {level!r}")
        if self.fc.rows == 0:
            return
        with nogil:
            kernel(&self.fc, &x[0, 0], &out[0, 0])


cdef class Plan:
    """A list of steps over an arena of its own, ready to run.

    `level` is the highest ISA level to use. `inputs` and `outputs` are lists of (offset, size) in bytes. A
    step is ("fc", input, output, FullyConnected) or ("quantize" or "dequantize", input, output, count, scale,
    zero_point); input and output are byte offsets into the arena, multiples of 64.
    """

    cdef ek_kernels table
    cdef ek_step *steps
    cdef int64_t count, arena_bytes
    cdef void *memory
    cdef uint8_t *arena
    cdef bint busy
    cdef list inputs, outputs, kept

    def __cinit__(self, str level, int64_t arena_bytes, list inputs, list outputs, list steps):
        _check(0 <= arena_bytes <= 2**40, "impossible arena")
        ek_fill_kernels(&self.table, _levels_up_to(level))
        self.arena_bytes, self.count, self.kept = arena_bytes, len(steps), list(steps)
        self.steps = <ek_step *>malloc(sizeof(ek_step) * (self.count + 1))
        self.memory = malloc(<size_t>arena_bytes + EK_ALIGNMENT)
        if self.steps == NULL or self.memory == NULL:
            raise MemoryError(f"no memory for an arena of {arena_bytes} bytes")
        memset(self.memory, 0, <size_t>arena_bytes + EK_ALIGNMENT)
        self.arena = <uint8_t *>((<uintptr_t>self.memory + EK_ALIGNMENT - 1) // EK_ALIGNMENT * EK_ALIGNMENT)
        for i, step in enumerate(steps):
            self._add(&self.steps[i], step)
        self.inputs, self.outputs = list(inputs), list(outputs)
        for offset, size in self.inputs + self.outputs:
            self._check_range(offset, size)

    def __dealloc__(self):
        free(self.steps)
        free(self.memory)

    cdef _check_range(self, int64_t offset, int64_t size):
        inside = 0 <= offset <= self.arena_bytes and 0 <= size <= self.arena_bytes - offset
        _check(inside and offset % EK_ALIGNMENT == 0, "a tensor outside the arena")

    cdef _add(self, ek_step *step, tuple given):
        memset(step, 0, sizeof(ek_step))
        kind, step.input, step.output = given[0], given[1], given[2]
        cdef FullyConnected layer
        cdef int64_t read, written
        if kind == "fc":
            layer = given[3]
            step.kind, step.fc = EK_FC_S8, layer.fc
            read, written = layer.fc.rows * layer.fc.depth, layer.fc.rows * layer.fc.cols
        else:
            step.kind = {"quantize": EK_QUANTIZE_F32_S8, "dequantize": EK_DEQUANTIZE_S8_F32}[kind]
            step.count, step.scale, step.zero_point = given[3], given[4], given[5]
            _check(0 <= step.count <= self.arena_bytes and step.scale > 0, "impossible count or scale")
            read, written = step.count * (4 if kind == "quantize" else 1), step.count * (
                1 if kind == "quantize" else 4)
        self._check_range(step.input, read)
        self._check_range(step.output, written)
        apart = step.input + read <= step.output or step.output + written <= step.input
        _check(apart, "a step whose input and output overlap")

    def run(self, list inputs, list outputs):
        """Run on contiguous arrays: read `inputs`, write `outputs`, whose sizes are those given at the start."""
        _check(len(inputs) == len(self.inputs) and len(outputs) == len(self.outputs), "wrong number of arrays")
        _check(not self.busy, "the engine is already running in another thread")
        self.busy = True
        try:
            for (offset, size), array in zip(self.inputs, inputs):
                self._copy(array, offset, size, False)
            with nogil:
                ek_run(&self.table, self.steps, self.count, self.arena)
            for (offset, size), array in zip(self.outputs, outputs):
                self._copy(array, offset, size, True)
        finally:
            self.busy = False

    cdef _copy(self, object array, int64_t offset, int64_t size, bint out):
        cdef Py_buffer view
        PyObject_GetBuffer(array, &view, PyBUF_WRITABLE if out else PyBUF_SIMPLE)
        try:
            _check(view.len == size, "an array of another size")
            if out:
                memcpy(view.buf, self.arena + offset, <size_t>size)
            else:
                memcpy(self.arena + offset, view.buf, <size_t>size)
        finally:
            PyBuffer_Release(&view)

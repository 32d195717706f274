# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""The only door to the C kernels: fills their structs, has them checked, then calls C without the GIL."""

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset


cdef extern from "time.h" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *now)


cdef extern from * nogil:
    """
    #include <stdlib.h>
    #ifdef __GLIBC__
    #include <malloc.h>
    #else
    #define malloc_trim(pad) 0
    #endif
    """
    int malloc_trim(size_t pad)


cdef extern from "ek.h" nogil:
    ctypedef int ek_level
    ctypedef void ek_kernel_fn(const void *op, uint8_t *arena, int64_t begin, int64_t end) noexcept
    ctypedef const char *ek_check_fn(const void *op, int64_t arena_bytes, int64_t *units) noexcept
    ctypedef struct ek_field:
        const char *name
        int64_t place
        char type
        char is_array
    ctypedef struct ek_family:
        const char *name
        int64_t size
        const ek_field *fields
        int field_count
        ek_check_fn *check
    ctypedef struct ek_kernel:
        int family
        ek_level level
        ek_kernel_fn *run
    ctypedef struct ek_step:
        const void *op
        ek_kernel_fn *run
        int64_t units
        int32_t shared

    const ek_kernel ek_kernel_list[]
    const int ek_kernel_count
    int EK_LEVELS, EK_TILE, EK_QUAD, EK_ALIGNMENT, EK_SLACK, EK_MAX_DEPTH, EK_MAX_THREADS, EK_FLIP, EK_BIASED
    const char *ek_level_name(ek_level level)
    uint32_t ek_known_levels()
    uint32_t ek_cpu_levels()
    int ek_family_count()
    ek_family ek_get_family(int number)
    ek_kernel_fn *ek_best_kernel(int family, uint32_t levels)
    void ek_run(const ek_step *steps, int64_t count, uint8_t *arena, int threads)
    void ek_limit_helpers(int limit)

ALIGNMENT = EK_ALIGNMENT
SLACK = EK_SLACK
TILE = EK_TILE
QUAD = EK_QUAD
MAX_DEPTH = EK_MAX_DEPTH
MAX_THREADS = EK_MAX_THREADS
FLIP = EK_FLIP
BIASED = EK_BIASED


cdef tuple _names(uint32_t levels):
    return tuple([ek_level_name(<ek_level>i).decode() for i in range(EK_LEVELS) if levels >> i & 1])


def known_levels():
    """Names of the ISA levels that this architecture has, worst first."""
    return _names(ek_known_levels())


def cpu_levels():
    """Names of those that this CPU can run, worst first."""
    return _names(ek_cpu_levels())


cdef dict _families():
    return {ek_get_family(i).name.decode(): i for i in range(ek_family_count())}


def families():
    """Names of the operations, in the order of native/ops.h."""
    return tuple(_families())


def fields(str family):
    """(name, letter of the struct module, whether it is an array) of each field of an operation's struct."""
    cdef ek_family f = ek_get_family(_families()[family])
    return [(f.fields[i].name.decode(), chr(f.fields[i].type), bool(f.fields[i].is_array)) for i in range(f.field_count)]


def kernels():
    """(family, level) of every kernel that this CPU can run, from the one list that feeds dispatch too."""
    return [
        (ek_get_family(ek_kernel_list[i].family).name.decode(), ek_level_name(ek_kernel_list[i].level).decode())
        for i in range(ek_kernel_count)
        if ek_cpu_levels() >> ek_kernel_list[i].level & 1
    ]


def trim_heap():
    """Give memory that is free in the C library's heap back to the system, where that library can."""
    with nogil:
        malloc_trim(0)


def limit_threads(int cpus):
    """All networks of this process together use at most `cpus` threads beside their callers' own, less one."""
    ek_limit_helpers(max(0, cpus - 1))


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


cdef class Op:
    """An operation: the struct of its family in native/ops.h, filled by the names of its fields.

    Numbers that are left out are 0, arrays empty. Arrays are C-contiguous and of the field's type; they are kept
    alive and must not be written to afterwards. Raises ValueError for a name, type or number that does not fit.
    """

    cdef readonly str family
    cdef int number
    cdef ek_family about
    cdef uint8_t *memory
    cdef list kept

    def __cinit__(self, str family, dict values):
        known = _families()
        _check(family in known, f"no operation {family!r}")
        self.family, self.number, self.kept = family, known[family], []
        self.about = ek_get_family(self.number)
        self.memory = <uint8_t *>calloc(1, <size_t>self.about.size)
        if self.memory == NULL:
            raise MemoryError()
        left = dict(values)
        for i in range(self.about.field_count):
            name = self.about.fields[i].name.decode()
            if name in left:
                self._set(self.about.fields[i], name, left.pop(name))
        _check(not left, f"{family} has no field {', '.join(left)}")

    def __dealloc__(self):
        free(self.memory)

    cdef _set(self, ek_field field, str name, value):
        if field.is_array:
            self._set_array(field, name, value)
        elif field.type == b"i":
            (<int32_t *>(self.memory + field.place))[0] = value
        elif field.type == b"I":
            (<uint32_t *>(self.memory + field.place))[0] = value
        elif field.type == b"q":
            (<int64_t *>(self.memory + field.place))[0] = value
        elif field.type == b"f":
            (<float *>(self.memory + field.place))[0] = value
        else:
            _check(field.type == b"d", f"{name} is of a type that no number has")
            (<double *>(self.memory + field.place))[0] = value

    cdef _set_array(self, ek_field field, str name, value):
        cdef Py_buffer view
        PyObject_GetBuffer(value, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        try:
            letter = view.format.decode() if view.format != NULL else "B"
            letter = "q" if letter == "l" else letter
            _check(letter == chr(field.type), f"{self.family}: {name} is of type {letter!r}, not {chr(field.type)!r}")
            _check(<uintptr_t>view.buf % <size_t>view.itemsize == 0, f"{self.family}: {name} is not aligned")
            (<void **>(self.memory + field.place))[0] = view.buf
            (<int64_t *>(self.memory + field.place + sizeof(void *)))[0] = view.len // view.itemsize
            self.kept.append(value)
        finally:
            PyBuffer_Release(&view)

    def units(self, int64_t arena_bytes):
        """How many units of work it has in an arena of that size. ValueError says why it cannot run there."""
        cdef int64_t units = 0
        cdef const char *reason = self.about.check(self.memory, arena_bytes, &units)
        if reason != NULL:
            raise ValueError(f"{self.family}: {reason.decode()}")
        return units

    def run(self, str level, uint8_t[::1] arena, begin=0, end=None):
        """Run the kernel of exactly this level over an arena of one's own, whose start is aligned."""
        cdef ek_kernel_fn *kernel = NULL
        cdef int64_t units = self.units(arena.shape[0]), first = begin, last = units if end is None else end
        _check(<uintptr_t>&arena[0] % EK_ALIGNMENT == 0, "an arena that is not aligned")
        _check(0 <= first <= last <= units, "units that do not exist")
        for i in range(ek_kernel_count):
            name = ek_level_name(ek_kernel_list[i].level).decode()
            if ek_kernel_list[i].family == self.number and name == level and ek_cpu_levels() >> ek_kernel_list[i].level & 1:
                kernel = ek_kernel_list[i].run
        _check(kernel != NULL, f"{self.family} has no level {level!r} on this CPU")
        with nogil:
            kernel(self.memory, &arena[0], first, last)


cdef class Program:
    """Operations in order, each with the best kernel up to `level`, checked for an arena of `arena_bytes`.

    `steps` are pairs (Op, whether several threads share it). A program is never written to: any number of streams
    run it at once.
    """

    cdef ek_step *steps
    cdef int64_t count
    cdef readonly int64_t arena_bytes
    cdef list kept

    def __cinit__(self, str level, int64_t arena_bytes, list steps):
        _check(0 <= arena_bytes <= 2**40, "impossible arena")
        cdef uint32_t levels = _levels_up_to(level)
        self.arena_bytes, self.count, self.kept = arena_bytes, len(steps), list(steps)
        self.steps = <ek_step *>calloc(<size_t>self.count + 1, sizeof(ek_step))
        if self.steps == NULL:
            raise MemoryError()
        cdef Op op
        for i, (op, shared) in enumerate(steps):
            self.steps[i] = ek_step(op.memory, ek_best_kernel(op.number, levels), op.units(arena_bytes), shared)

    def __dealloc__(self):
        free(self.steps)


cdef class Stream:
    """A program with an arena of its own. `inputs` and `outputs` are lists of (place, size) in bytes.

    `run` may not be called from two threads at once. Several streams of one program may run at once.
    """

    cdef Program program
    cdef void *memory
    cdef uint8_t *arena
    cdef bint busy
    cdef list inputs, outputs

    def __cinit__(self, Program program, list inputs, list outputs):
        self.program = program
        self.memory = malloc(<size_t>program.arena_bytes + EK_ALIGNMENT)
        if self.memory == NULL:
            raise MemoryError(f"no memory for an arena of {program.arena_bytes} bytes")
        memset(self.memory, 0, <size_t>program.arena_bytes + EK_ALIGNMENT)
        self.arena = <uint8_t *>((<uintptr_t>self.memory + EK_ALIGNMENT - 1) // EK_ALIGNMENT * EK_ALIGNMENT)
        self.inputs, self.outputs = list(inputs), list(outputs)
        for place, size in self.inputs + self.outputs:
            inside = 0 <= place <= program.arena_bytes and 0 <= size <= program.arena_bytes - place
            _check(inside and place % EK_ALIGNMENT == 0, "a tensor outside the arena")

    def __dealloc__(self):
        free(self.memory)

    def run(self, list inputs, list outputs, int threads=1):
        """Run on contiguous arrays: read `inputs`, write `outputs`, whose sizes are those given at the start."""
        _check(len(inputs) == len(self.inputs) and len(outputs) == len(self.outputs), "wrong number of arrays")
        _check(1 <= threads <= EK_MAX_THREADS, "an impossible number of threads")
        _check(not self.busy, "the engine is already running in another thread")
        self.busy = True
        try:
            for (place, size), array in zip(self.inputs, inputs):
                self._copy(array, place, size, False)
            with nogil:
                ek_run(self.program.steps, self.program.count, self.arena, threads)
            for (place, size), array in zip(self.outputs, outputs):
                self._copy(array, place, size, True)
        finally:
            self.busy = False

    def profile(self, list inputs, int threads=1):
        """Run once, step by step; the seconds that each step took."""
        _check(1 <= threads <= EK_MAX_THREADS, "an impossible number of threads")
        cdef timespec before, after
        cdef int64_t i
        seconds = []
        for (place, size), array in zip(self.inputs, inputs, strict=True):
            self._copy(array, place, size, False)
        for i in range(self.program.count):
            clock_gettime(CLOCK_MONOTONIC, &before)
            ek_run(&self.program.steps[i], 1, self.arena, threads)
            clock_gettime(CLOCK_MONOTONIC, &after)
            seconds.append(after.tv_sec - before.tv_sec + 1e-9 * (after.tv_nsec - before.tv_nsec))
        return seconds

    cdef _copy(self, object array, int64_t place, int64_t size, bint out):
        cdef Py_buffer view
        PyObject_GetBuffer(array, &view, PyBUF_WRITABLE if out else PyBUF_SIMPLE)
        try:
            _check(view.len == size, "an array of another size")
            if out:
                memcpy(view.buf, self.arena + place, <size_t>size)
            else:
                memcpy(self.arena + place, view.buf, <size_t>size)
        finally:
            PyBuffer_Release(&view)

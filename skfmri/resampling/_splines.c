/* Resampling of planes by cubic B-splines, the prefilter by recursion.
 *
 * Does in fewer steps what skfmri.resampling does with matrices, which takes over if this module
 * could not be compiled. The recursion is that of Unser, Aldroubi & Eden (1993), B-spline signal
 * processing, IEEE Transactions on Signal Processing 41:821-848, with the data mirrored at the
 * edges, as in scipy.ndimage.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GLIBC__) && __GNUC__ >= 12 && !defined(__clang__)
/* The loader chooses the version that the processor supports. */
#define VECTORIZED __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define VECTORIZED
#endif

#define POLE -0.26794919243112270f /* sqrt(3) - 2 */
#define GAIN 6.0f
#define HORIZON 16 /* POLE to this power is negligible in single precision */
#define STRIP 128  /* so many columns fit into the cache, for a few hundred rows */

/* A position in a sequence of n values, mirrored at its ends. */
static Py_ssize_t mirrored(Py_ssize_t k, Py_ssize_t n)
{
    k %= 2 * n - 2;
    return k < n ? k : 2 * n - 2 - k;
}

/* Turn samples (n, m) into spline coefficients along the first axis, for rows from `first` up to
 * `end` only. Samples and coefficients may share memory. `work` holds n * STRIP values. */
static inline void filter(const float *samples, Py_ssize_t n, Py_ssize_t m, Py_ssize_t first,
                   Py_ssize_t end, float *coefficients, float *work)
{
    if (n == 1) {
        memmove(coefficients, samples, m * sizeof(float));
        return;
    }
    for (Py_ssize_t start = 0; start < m; start += STRIP) {
        const Py_ssize_t width = m - start < STRIP ? m - start : STRIP;
        const float *s = samples + start;
        float *c = work, power = 1;
        for (Py_ssize_t j = 0; j < width; j++)
            c[j] = s[j];
        for (Py_ssize_t k = 1; k < HORIZON; k++) {
            const float *row = s + mirrored(k, n) * m;
            power *= POLE;
            for (Py_ssize_t j = 0; j < width; j++)
                c[j] += power * row[j];
        }
        for (Py_ssize_t k = 1; k < n; k++) {
            const float *row = s + k * m;
            const float *before = c;
            c += width;
            for (Py_ssize_t j = 0; j < width; j++)
                c[j] = row[j] + POLE * before[j];
        }
        const float *before = c - width;
        for (Py_ssize_t j = 0; j < width; j++)
            c[j] = GAIN * POLE / (POLE * POLE - 1) * (c[j] + POLE * before[j]);
        for (Py_ssize_t k = n - 2; k >= first; k--) {
            const float *after = c;
            c -= width;
            for (Py_ssize_t j = 0; j < width; j++)
                c[j] = POLE * (after[j] - GAIN * c[j]);
        }
        for (Py_ssize_t k = first; k < end; k++)
            memcpy(coefficients + (k - first) * m + start, work + k * width,
                   width * sizeof(float));
    }
}

/* Multiply a sparse matrix by coefficients (any, n_planes), of which the first row belongs to the
 * column `first_column` of the matrix. */
static inline void combine(const float *coefficients, Py_ssize_t first_column, const int *starts,
                    const int *columns, const float *weights, Py_ssize_t n_rows,
                    Py_ssize_t n_planes, float *out)
{
    for (Py_ssize_t row = 0; row < n_rows; row++, out += n_planes) {
        for (Py_ssize_t j = 0; j < n_planes; j++)
            out[j] = 0;
        for (int i = starts[row]; i < starts[row + 1]; i++) {
            const float *c = coefficients + (columns[i] - first_column) * n_planes;
            for (Py_ssize_t j = 0; j < n_planes; j++)
                out[j] += weights[i] * c[j];
        }
    }
}

enum { VOLUMES, STARTS, COLUMNS, WEIGHTS, OUT, N_BUFFERS };

/* Resample all volumes with weights of columns from `lowest` to `highest`; return -1 if there is
 * not enough memory. */
VECTORIZED
static int resample(Py_buffer *buffers, int lowest, int highest)
{
    const Py_ssize_t *shape = buffers[VOLUMES].shape;
    const Py_ssize_t n_slow = shape[1], n_fast = shape[2], n_planes = shape[3];
    const Py_ssize_t row = n_fast * n_planes, n_rows = buffers[OUT].shape[1];
    if (lowest > highest || row == 0) {
        memset(buffers[OUT].buf, 0, buffers[OUT].len);
        return 0;
    }
    const Py_ssize_t first = lowest / n_fast, end = highest / n_fast + 1;
    /* Coefficients depend only on nearby samples, so HORIZON rows more on either side suffice. */
    const Py_ssize_t from = first > HORIZON ? first - HORIZON : 0;
    const Py_ssize_t to = end + HORIZON < n_slow ? end + HORIZON : n_slow;
    const Py_ssize_t longest = n_slow > n_fast ? n_slow : n_fast;
    float *coefficients = malloc((end - first) * row * sizeof(float));
    float *work = malloc(longest * STRIP * sizeof(float));
    const int is_ready = coefficients && work;
    for (Py_ssize_t i = 0; is_ready && i < shape[0]; i++) {
        const float *volume = (const float *)buffers[VOLUMES].buf + i * n_slow * row;
        float *out = (float *)buffers[OUT].buf + i * n_rows * n_planes;
        filter(volume + from * row, to - from, row, first - from, end - from, coefficients, work);
        for (Py_ssize_t k = 0; k < end - first; k++) {
            float *line = coefficients + k * row;
            filter(line, n_fast, n_planes, 0, n_fast, line, work);
        }
        combine(coefficients, first * n_fast, buffers[STARTS].buf, buffers[COLUMNS].buf,
                buffers[WEIGHTS].buf, n_rows, n_planes, out);
    }
    free(coefficients);
    free(work);
    return is_ready ? 0 : -1;
}

static const struct {
    const char *name, *formats;
    int n_axes, flags;
} EXPECTED[N_BUFFERS] = {
    {"volumes", "f", 4, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT},
    {"starts", "il", 1, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT},
    {"columns", "il", 1, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT},
    {"weights", "f", 1, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT},
    {"out", "f", 3, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_WRITABLE},
};

/* Find the range of columns used; return a message if an access would leave the buffers. */
static const char *misfit(Py_buffer *buffers, int *lowest, int *highest)
{
    const Py_ssize_t *shape = buffers[VOLUMES].shape, *out = buffers[OUT].shape;
    const Py_ssize_t n_weights = buffers[WEIGHTS].shape[0];
    const int *starts = buffers[STARTS].buf, *columns = buffers[COLUMNS].buf;
    if (out[0] != shape[0] || out[2] != shape[3])
        return "out must have the shape (volumes, rows, planes)";
    if (buffers[STARTS].shape[0] != out[1] + 1 || buffers[COLUMNS].shape[0] != n_weights)
        return "starts, columns and weights must be those of a sparse matrix with a row for each "
               "row of out";
    if (starts[0] != 0 || starts[out[1]] != n_weights)
        return "starts must begin with 0 and end with the number of weights";
    for (Py_ssize_t i = 0; i < out[1]; i++)
        if (starts[i] > starts[i + 1])
            return "starts must not decrease";
    for (Py_ssize_t i = 0; i < n_weights; i++) {
        *lowest = columns[i] < *lowest ? columns[i] : *lowest;
        *highest = columns[i] > *highest ? columns[i] : *highest;
    }
    if (*lowest < 0 || *highest >= shape[1] * shape[2])
        return "columns must be positions of voxels in a plane";
    return NULL;
}

static PyObject *resample_planes(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    Py_buffer buffers[N_BUFFERS];
    int n_held = 0;
    PyObject *result = NULL;
    if (n_args != N_BUFFERS) {
        PyErr_Format(PyExc_TypeError, "resample_planes takes %d arrays", N_BUFFERS);
        return NULL;
    }
    for (; n_held < N_BUFFERS; n_held++) {
        Py_buffer *buffer = buffers + n_held;
        if (PyObject_GetBuffer(args[n_held], buffer, EXPECTED[n_held].flags))
            goto end;
        const int is_typed = strlen(buffer->format) == 1 && buffer->itemsize == 4 &&
                             strchr(EXPECTED[n_held].formats, buffer->format[0]);
        if (!is_typed || buffer->ndim != EXPECTED[n_held].n_axes) {
            PyErr_Format(PyExc_TypeError, "%s must have %d axes and 4 bytes of the type '%c'",
                         EXPECTED[n_held].name, EXPECTED[n_held].n_axes,
                         EXPECTED[n_held].formats[0]);
            n_held++;
            goto end;
        }
    }
    int lowest = INT_MAX, highest = -1, failed;
    const char *error = misfit(buffers, &lowest, &highest);
    if (error) {
        PyErr_SetString(PyExc_ValueError, error);
        goto end;
    }
    Py_BEGIN_ALLOW_THREADS
    failed = resample(buffers, lowest, highest);
    Py_END_ALLOW_THREADS
    if (failed)
        PyErr_NoMemory();
    else
        result = Py_NewRef(Py_None);
end:
    while (n_held--)
        PyBuffer_Release(buffers + n_held);
    return result;
}

PyDoc_STRVAR(resample_planes_doc,
"resample_planes(volumes, starts, columns, weights, out, /)\n"
"--\n\n"
"Resample planes by cubic splines.\n\n"
"Parameters\n"
"----------\n"
"volumes : buffer of float32, shape (k, slow, fast, planes)\n"
"    Samples, C-contiguous.\n"
"starts, columns, weights : buffers of int32, int32 and float32\n"
"    ``indptr``, ``indices`` and ``data`` of a CSR matrix from the coefficients of a plane,\n"
"    ``slow * fast``, to the rows of the result.\n"
"out : buffer of float32, shape (k, rows, planes)\n"
"    Filled with the result; C-contiguous.\n\n"
"Raises\n"
"------\n"
"TypeError, ValueError\n"
"    If types or shapes do not fit.");

static PyMethodDef methods[] = {
    {"resample_planes", (PyCFunction)(void (*)(void))resample_planes, METH_FASTCALL,
     resample_planes_doc},
    {NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "skfmri.resampling._splines",
    .m_doc = "Resampling of planes by cubic splines, compiled.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__splines(void) { return PyModuleDef_Init(&definition); }

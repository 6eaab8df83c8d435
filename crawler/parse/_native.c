/* The loops of reading that go over every character of a page, for crawler/parse/native.py.

   Each function gives, for every string there is, what the Python beside it gives: simhash.py and
   spaces.py are the reference, and what runs where nothing could be compiled. Whoever changes one
   of them changes the other and raises EDITION (tests/parse/test_native.py compares them).

   Characters are read where they lie, by their kind (1, 2 or 4 bytes each): the stable ABI has no
   such view, only copies, which cost as much as the work (docs/decisions/0078). Nothing is kept
   between calls, no function calls itself, memory and time are linear in the text. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define EDITION 2

/* simhash.py */
#define MOST 8192
#define KEPT 64

/* A string's characters. Its kind is handed on as a constant wherever a loop must be quick, so that
   the compiler makes one loop of each. */
typedef struct {
    const void *characters;
    int kind;
    Py_ssize_t length;
} Text;

static int
look_into(PyObject *object, Text *text)
{
    if (!PyUnicode_Check(object)) {
        PyErr_Format(PyExc_TypeError, "expected str, not %.100s", Py_TYPE(object)->tp_name);
        return -1;
    }
#if PY_VERSION_HEX < 0x030C0000 /* later ones have no other kind of string */
    if (PyUnicode_READY(object) < 0) {
        return -1;
    }
#endif
    text->characters = PyUnicode_DATA(object);
    text->kind = PyUnicode_KIND(object);
    text->length = PyUnicode_GET_LENGTH(object);
    return 0;
}

/* ── simhash ────────────────────────────────────────────────────────────────────────────────── */

/* CRC-32 as zlib has it. The table is linear: an entry is the sum of those of its bits. */
#define BIT(i, bit, value) ((i) & (bit) ? (value) : 0u)
#define C1(i) (BIT(i, 1, 0x77073096u) ^ BIT(i, 2, 0xEE0E612Cu) ^ BIT(i, 4, 0x076DC419u) \
    ^ BIT(i, 8, 0x0EDB8832u) ^ BIT(i, 16, 0x1DB71064u) ^ BIT(i, 32, 0x3B6E20C8u) \
    ^ BIT(i, 64, 0x76DC4190u) ^ BIT(i, 128, 0xEDB88320u))
#define C4(i) C1(i), C1((i) + 1), C1((i) + 2), C1((i) + 3)
#define C16(i) C4(i), C4((i) + 4), C4((i) + 8), C4((i) + 12)
#define C64(i) C16(i), C16((i) + 16), C16((i) + 32), C16((i) + 48)

static const uint32_t CRC[256] = {C64(0), C64(64), C64(128), C64(192)};

/* With one byte more; begins with all bits set, and is the sum with all bits turned. */
static inline uint32_t
crc_step(uint32_t sum, uint8_t byte)
{
    return CRC[(sum ^ byte) & 0xFF] ^ sum >> 8;
}

static uint32_t
crc32(const uint8_t *from, const uint8_t *end)
{
    uint32_t sum = ~0u;
    while (from < end) {
        sum = crc_step(sum, *from++);
    }
    return ~sum;
}

/* What bytes.strip and bytes.split take for white space. */
static inline int
is_blank(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

/* The smallest sums, in order, each of another run of bytes. */
typedef struct {
    uint32_t sum;
    const uint8_t *start;
    size_t length;
} Pair;

typedef struct {
    Pair pairs[KEPT];
    size_t number;
    size_t room; /* 1 to KEPT */
} Sample;

static void
keep(Sample *sample, uint32_t sum, const uint8_t *start, size_t length)
{
    Pair *pairs = sample->pairs;
    size_t low = 0, high = sample->number;
    /* With a sum equal to the last one it may be another run, but would add the same. */
    if (high == sample->room && sum >= pairs[high - 1].sum) {
        return;
    }
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (pairs[middle].sum < sum) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    for (size_t at = low; at < sample->number && pairs[at].sum == sum; at++) {
        if (pairs[at].length == length && memcmp(pairs[at].start, start, length) == 0) {
            return;
        }
    }
    if (sample->number == sample->room) {
        sample->number--;
    }
    memmove(pairs + low + 1, pairs + low, (sample->number - low) * sizeof(Pair));
    pairs[low] = (Pair){sum, start, length};
    sample->number++;
}

static inline int
is_frequent(uint8_t letter, int stage)
{
    return stage == 0 ? letter == 't'
                      : letter == 's' || letter == 'a' || letter == 'i' || letter == 'o';
}

/* As the regular expression ` [letters][^ ]* [^ ]+` finds them: none overlaps the one before. Each
   word has one space before it, and the last one none behind. */
static void
keep_frequent(Sample *sample, const uint8_t *space, const uint8_t *end, int stage)
{
    while (space != NULL && end - space > 1) {
        const uint8_t *next = memchr(space + 1, ' ', (size_t)(end - space - 1));
        if (next != NULL && is_frequent(space[1], stage)) {
            const uint8_t *behind = memchr(next + 1, ' ', (size_t)(end - next - 1));
            const uint8_t *stop = behind == NULL ? end : behind;
            keep(sample, crc32(space, stop), space, (size_t)(stop - space));
            next = behind;
        }
        space = next;
    }
}

static const uint8_t *
word_end(const uint8_t *from, const uint8_t *end)
{
    while (from < end && !is_blank(*from)) {
        from++;
    }
    return from;
}

static const uint8_t *
word_start(const uint8_t *from, const uint8_t *end)
{
    while (from < end && is_blank(*from)) {
        from++;
    }
    return from;
}

/* Every word with the next one; one that is alone with nothing. How many words: 0, 1, or 2 for more.
   The sum of a pair goes on from the first word's while the second's own is made beside it. */
static int
keep_all(Sample *sample, const uint8_t *from, const uint8_t *end)
{
    uint32_t before = 0;
    int words = 0;
    while ((from = word_start(from, end)) < end) {
        uint32_t alone = ~0u, pair = ~before;
        for (; from < end && !is_blank(*from); from++) {
            alone = crc_step(alone, *from);
            pair = crc_step(pair, *from);
        }
        if (words > 0) {
            /* Two of one sum count once here, whatever they are: no bytes are compared. */
            keep(sample, ~pair, end, 0);
        }
        words += words < 2;
        before = ~alone;
    }
    if (words == 1) {
        keep(sample, before, end, 0);
    }
    return words;
}

/* 1 to 9 as 0. */
static inline uint8_t
folded(uint8_t byte)
{
    return (uint8_t)(byte - '1') < 9 ? '0' : byte;
}

/* UTF-8, digits folded, a question mark for a lone surrogate. `raw` takes 4 bytes a character. */
static size_t
encode(const Text *text, uint8_t *raw)
{
    if (text->kind == PyUnicode_1BYTE_KIND) {
        const Py_UCS1 *characters = text->characters;
        Py_UCS1 all = 0;
        for (Py_ssize_t at = 0; at < text->length; at++) {
            all |= characters[at];
            raw[at] = folded(characters[at]);
        }
        if (all < 0x80) {
            return (size_t)text->length;
        }
    }
    uint8_t *to = raw;
    for (Py_ssize_t at = 0; at < text->length; at++) {
        Py_UCS4 one = PyUnicode_READ(text->kind, text->characters, at);
        if (one < 0x80) {
            *to++ = folded((uint8_t)one);
        }
        else if (one < 0x800) {
            *to++ = (uint8_t)(0xC0 | one >> 6);
            *to++ = (uint8_t)(0x80 | (one & 0x3F));
        }
        else if (one >= 0xD800 && one <= 0xDFFF) {
            *to++ = '?';
        }
        else if (one < 0x10000) {
            *to++ = (uint8_t)(0xE0 | one >> 12);
            *to++ = (uint8_t)(0x80 | (one >> 6 & 0x3F));
            *to++ = (uint8_t)(0x80 | (one & 0x3F));
        }
        else {
            *to++ = (uint8_t)(0xF0 | one >> 18);
            *to++ = (uint8_t)(0x80 | (one >> 12 & 0x3F));
            *to++ = (uint8_t)(0x80 | (one >> 6 & 0x3F));
            *to++ = (uint8_t)(0x80 | (one & 0x3F));
        }
    }
    return (size_t)(to - raw);
}

static int
has_double_space(const uint8_t *from, const uint8_t *end)
{
    int found = 0; /* no early end: so the compiler takes 16 bytes at a time */
    for (; end - from > 1; from++) {
        found |= (from[0] == ' ') & (from[1] == ' ');
    }
    return found;
}

/* One space before each word, in place; the new end. `from` is a space already. */
static uint8_t *
run_together(uint8_t *from, uint8_t *end)
{
    uint8_t *to = from;
    const uint8_t *word = from, *stop;
    while ((word = word_start(word, end)) < end) {
        stop = word_end(word, end);
        *to++ = ' ';
        memmove(to, word, (size_t)(stop - word));
        to += stop - word;
        word = stop;
    }
    return to;
}

/* Bits 48 to 111 of the sum times 2**128 / phi: makes 64 even bits of 32. */
static uint64_t
spread(uint32_t sum)
{
    uint64_t low = (uint64_t)sum * 0x5CEDC835u;
    uint64_t high = (uint64_t)sum * 0xF39CC060u + (low >> 32);
    return (high >> 16) + ((uint64_t)sum * 0x9E3779B97F4A7C15u << 16);
}

/* Each bit as it is in more than half of the sums' 64. A byte counts one bit in eight, up to 127. */
static uint64_t
majority(const uint32_t *sums, size_t number)
{
    const uint64_t lowest = 0x0101010101010101u;
    const uint64_t more = lowest * (127 - number / 2); /* lifts what is more than half to 128 */
    uint64_t counts[8] = {0}, bits = 0;
    for (size_t row = 0; row < number; row++) {
        uint64_t spread_out = spread(sums[row]);
        for (int at = 0; at < 8; at++) {
            counts[at] += spread_out >> at & lowest;
        }
    }
    for (int at = 0; at < 8; at++) {
        bits |= ((counts[at] + more) >> 7 & lowest) << at;
    }
    return bits;
}

PyDoc_STRVAR(simhash_doc, "64 bits, as simhash.py has them; None for a text without a word.");

static PyObject *
simhash(PyObject *Py_UNUSED(module), PyObject *object)
{
    Text text;
    if (look_into(object, &text) < 0) {
        return NULL;
    }
    if (text.length > MOST) {
        text.length = MOST;
    }
    uint8_t *raw = PyMem_Malloc(1 + 4 * (size_t)text.length);
    if (raw == NULL) {
        return PyErr_NoMemory();
    }
    uint8_t *start = raw + 1, *end = start + encode(&text, start);
    /* Where another script is read, an English menu must not speak for the whole page. */
    int latin = end - start - text.length <= text.length >> 4;
    while (start < end && is_blank(*start)) {
        start++;
    }
    while (start < end && is_blank(end[-1])) {
        end--;
    }
    *--start = ' ';
    if (has_double_space(start, end)) { /* never in what the reader has run together */
        end = run_together(start, end);
    }
    uint32_t sums[KEPT];
    size_t kept = 0;
    Sample sample;
    int words = 1;
    for (int stage = latin ? 0 : 2; stage < 3 && kept < KEPT; stage++) {
        sample.number = 0;
        sample.room = KEPT - kept;
        if (stage < 2) {
            keep_frequent(&sample, start, end, stage);
        }
        else {
            words = keep_all(&sample, start, end);
        }
        for (size_t at = 0; at < sample.number; at++) {
            sums[kept++] = sample.pairs[at].sum;
        }
    }
    PyMem_Free(raw);
    if (!words) {
        Py_RETURN_NONE;
    }
    return PyLong_FromUnsignedLongLong(majority(sums, kept));
}

/* ── white space ────────────────────────────────────────────────────────────────────────────── */

/* What was written so far, in characters of the widest kind that was met. */
typedef struct {
    void *characters;
    int kind;
    Py_ssize_t length;
    Py_ssize_t room;
    int gap; /* what stands last is a space, or nothing does */
} Line;

/* Room for so many characters more. On failure what there was is still there. */
static int
make_room(Line *line, Py_ssize_t more)
{
    if (more <= line->room - line->length) {
        return 0;
    }
    void *larger = NULL;
    if (more <= PY_SSIZE_T_MAX / 8 - line->length) { /* of 4 bytes each, and twice as many */
        Py_ssize_t room = 2 * (line->length + more);
        larger = PyMem_Realloc(line->characters, (size_t)room * (size_t)line->kind);
        line->room = larger == NULL ? line->room : room;
    }
    if (larger == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    line->characters = larger;
    return 0;
}

/* From now on in characters of this kind: at most twice for a line. */
static int
widen(Line *line, int kind)
{
    void *wider = PyMem_Malloc((size_t)line->room * (size_t)kind);
    if (wider == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t at = 0; at < line->length; at++) {
        PyUnicode_WRITE(kind, wider, at, PyUnicode_READ(line->kind, line->characters, at));
    }
    PyMem_Free(line->characters);
    line->characters = wider;
    line->kind = kind;
    return 0;
}

/* A text at the end of the line, where there is room for it, white space run together. Every
   character is written, and the next one takes its place where it was a space too many: no branch
   that a processor could guess wrong. */
static inline void
write_out(const Text *text, int kind, Line *line, int line_kind)
{
    const void *from = text->characters;
    void *to = line->characters;
    Py_ssize_t number = text->length, length = line->length;
    int gap = line->gap;
    for (Py_ssize_t at = 0; at < number; at++) {
        Py_UCS4 one = PyUnicode_READ(kind, from, at);
        int space = Py_UNICODE_ISSPACE(one) != 0;
        PyUnicode_WRITE(line_kind, to, length, space ? ' ' : one);
        length += !(space & gap);
        gap = space;
    }
    line->length = length;
    line->gap = gap;
}

static int
append(Line *line, PyObject *object)
{
    Text text;
    if (look_into(object, &text) < 0) {
        return -1;
    }
    if (text.kind > line->kind && widen(line, text.kind) < 0) {
        return -1;
    }
    if (make_room(line, text.length + 1) < 0) { /* one for the space between two texts */
        return -1;
    }
    switch (text.kind << 4 | line->kind) {
    case 0x11: write_out(&text, 1, line, 1); break;
    case 0x12: write_out(&text, 1, line, 2); break;
    case 0x22: write_out(&text, 2, line, 2); break;
    default: write_out(&text, text.kind, line, 4); /* signs beyond the first 65,536: rare */
    }
    if (!line->gap) {
        PyUnicode_WRITE(line->kind, line->characters, line->length, ' ');
        line->length++;
        line->gap = 1;
    }
    return 0;
}

PyDoc_STRVAR(joined_doc, "Strings as one, a space between words, as spaces.py has them.");

static PyObject *
joined(PyObject *Py_UNUSED(module), PyObject *strings)
{
    PyObject *each = PyObject_GetIter(strings), *one, *result = NULL;
    if (each == NULL) {
        return NULL;
    }
    Line line = {NULL, PyUnicode_1BYTE_KIND, 0, 0, 1};
    if (make_room(&line, 4096) < 0) {
        goto end;
    }
    while ((one = PyIter_Next(each)) != NULL) {
        int failed = append(&line, one);
        Py_DECREF(one);
        if (failed) {
            goto end;
        }
    }
    if (!PyErr_Occurred()) { /* the last is a space, where there is any */
        Py_ssize_t length = line.length - (line.length > 0);
        result = PyUnicode_FromKindAndData(line.kind, line.characters, length);
    }
end:
    PyMem_Free(line.characters);
    Py_DECREF(each);
    return result;
}

/* ── the module ─────────────────────────────────────────────────────────────────────────────── */

static PyMethodDef functions[] = {
    {"simhash", simhash, METH_O, simhash_doc},
    {"joined", joined, METH_O, joined_doc},
    {NULL, NULL, 0, NULL},
};

/* What it was compiled for: swift.py leaves a build alone that an older source tree left behind. */
static int
say_made_for(PyObject *module)
{
    PyObject *terms = Py_BuildValue("(iii)", EDITION, MOST, KEPT);
    int failed = PyModule_AddObjectRef(module, "MADE_FOR", terms);
    Py_XDECREF(terms);
    return failed;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, say_made_for},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

PyDoc_STRVAR(module_doc, "What crawler/parse/native.py uses where it could be compiled.");

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "crawler.parse._native",
    .m_doc = module_doc,
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}

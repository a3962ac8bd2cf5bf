/* Small files by the group: opened, read and hashed without Python in between, for the processors
 * and kernels that can (x86-64 with SHA extensions, Linux 5.6). `small` checks it against hashlib
 * before it is used, and does without it anywhere else.
 *
 * Three things are gained. The interpreter's share of a file, about half of it. The check where
 * links lead, which the kernel does while it opens the file (openat2). And time with a cold cache:
 * what is not in it is asked for while the rest of the group is opened, so that waits overlap.
 * The SHA extensions are bound by latency, too: two messages side by side are hashed a third
 * faster than one after the other. */

#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/openat2.h>
#endif

#if defined(__x86_64__) && defined(__linux__) && defined(SYS_openat2) && \
    defined(SYS_statx) && defined(RWF_NOWAIT)
#define SUPPORTED 1
#include <cpuid.h>
#include <immintrin.h>
#else
#define SUPPORTED 0
#endif

#if SUPPORTED

#define BLOCK 64
#define DIGEST 32

static const uint32_t K[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

/* One message: a whole number of blocks (padding included), and its state in the processor's own
 * order of words: ABEF, CDGH. */
typedef struct {
    __m128i abef, cdgh;
    const uint8_t *next;
    size_t blocks;
    uint8_t *digest;
} Lane;

/* Four rounds; w holds the four schedule words of each of the last four steps. */
#define ROUNDS(lane, w, i)                                                                       \
    do {                                                                                         \
        __m128i k = _mm_add_epi32(w[(i) & 3], _mm_load_si128((const __m128i *)&K[4 * (i)]));     \
        lane##_cdgh = _mm_sha256rnds2_epu32(lane##_cdgh, lane##_abef, k);                        \
        k = _mm_shuffle_epi32(k, 0x0e);                                                          \
        lane##_abef = _mm_sha256rnds2_epu32(lane##_abef, lane##_cdgh, k);                        \
    } while (0)

/* The schedule words of step i + 4, in the place of those of step i. */
#define SCHEDULE(w, i)                                                                           \
    do {                                                                                         \
        __m128i t = _mm_alignr_epi8(w[((i) + 3) & 3], w[((i) + 2) & 3], 4);                      \
        t = _mm_add_epi32(_mm_sha256msg1_epu32(w[(i) & 3], w[((i) + 1) & 3]), t);                \
        w[(i) & 3] = _mm_sha256msg2_epu32(t, w[((i) + 3) & 3]);                                  \
    } while (0)

#define LOAD(w, from)                                                                            \
    do {                                                                                         \
        for (int j = 0; j < 4; j++)                                                              \
            w[j] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(from) + j), swap);         \
    } while (0)

#define TARGET __attribute__((target("sha,sse4.1,ssse3")))

TARGET static void compress_one(Lane *a, size_t blocks)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bULL, 0x0405060700010203ULL);
    __m128i a_abef = a->abef, a_cdgh = a->cdgh;
    for (size_t n = 0; n < blocks; n++) {
        const __m128i abef = a_abef, cdgh = a_cdgh;
        __m128i wa[4];
        LOAD(wa, a->next + n * BLOCK);
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            ROUNDS(a, wa, i);
            if (i < 12)
                SCHEDULE(wa, i);
        }
        a_abef = _mm_add_epi32(a_abef, abef);
        a_cdgh = _mm_add_epi32(a_cdgh, cdgh);
    }
    a->abef = a_abef;
    a->cdgh = a_cdgh;
    a->next += blocks * BLOCK;
    a->blocks -= blocks;
}

TARGET static void compress_two(Lane *a, Lane *b, size_t blocks)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bULL, 0x0405060700010203ULL);
    __m128i a_abef = a->abef, a_cdgh = a->cdgh, b_abef = b->abef, b_cdgh = b->cdgh;
    for (size_t n = 0; n < blocks; n++) {
        const __m128i a_abef0 = a_abef, a_cdgh0 = a_cdgh, b_abef0 = b_abef, b_cdgh0 = b_cdgh;
        __m128i wa[4], wb[4];
        LOAD(wa, a->next + n * BLOCK);
        LOAD(wb, b->next + n * BLOCK);
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            ROUNDS(a, wa, i);
            ROUNDS(b, wb, i);
            if (i < 12) {
                SCHEDULE(wa, i);
                SCHEDULE(wb, i);
            }
        }
        a_abef = _mm_add_epi32(a_abef, a_abef0);
        a_cdgh = _mm_add_epi32(a_cdgh, a_cdgh0);
        b_abef = _mm_add_epi32(b_abef, b_abef0);
        b_cdgh = _mm_add_epi32(b_cdgh, b_cdgh0);
    }
    a->abef = a_abef, a->cdgh = a_cdgh, b->abef = b_abef, b->cdgh = b_cdgh;
    a->next += blocks * BLOCK, b->next += blocks * BLOCK;
    a->blocks -= blocks, b->blocks -= blocks;
}

/* Bytes that a message takes with its padding: a one bit, zeros, its length in 64 bits. */
static size_t padded(size_t size) { return (size + 1 + 8 + BLOCK - 1) / BLOCK * BLOCK; }

static void start(Lane *lane, uint8_t *message, size_t size, uint8_t *digest)
{
    size_t end = padded(size);
    message[size] = 0x80;
    memset(message + size + 1, 0, end - size - 1);
    uint64_t bits = __builtin_bswap64((uint64_t)size * 8);
    memcpy(message + end - 8, &bits, 8);
    lane->abef = _mm_set_epi32(0x6a09e667, 0xbb67ae85, 0x510e527f, 0x9b05688c);
    lane->cdgh = _mm_set_epi32(0x3c6ef372, 0xa54ff53a, 0x1f83d9ab, 0x5be0cd19);
    lane->next = message;
    lane->blocks = end / BLOCK;
    lane->digest = digest;
}

static void finish(Lane *lane)
{
    uint32_t abef[4], cdgh[4];
    _mm_storeu_si128((__m128i *)abef, lane->abef);
    _mm_storeu_si128((__m128i *)cdgh, lane->cdgh);
    const uint32_t words[8] = {abef[3], abef[2], cdgh[3], cdgh[2],
                               abef[1], abef[0], cdgh[1], cdgh[0]};
    for (int i = 0; i < 8; i++) {
        uint32_t word = __builtin_bswap32(words[i]);
        memcpy(lane->digest + 4 * i, &word, 4);
    }
}

typedef struct {
    int descriptor;   /* -1: not open (any more) */
    int done;         /* read whole, and still */
    int was_cached;
    size_t offset;    /* in the arena */
    struct stat facts;
    int64_t read_at_ns;
    uint8_t digest[DIGEST];
} File;

/* Digests of all files that were read, always two side by side. */
static void hash_all(File *files, size_t count, uint8_t *arena)
{
    Lane lanes[2];
    int busy = 0;
    size_t next = 0;
    for (;;) {
        while (busy < 2 && next < count) {
            File *file = &files[next++];
            if (file->done)
                start(&lanes[busy++], arena + file->offset, file->facts.st_size, file->digest);
        }
        if (busy == 0)
            return;
        if (busy == 1) {
            compress_one(&lanes[0], lanes[0].blocks);
        } else {
            size_t fewer = lanes[0].blocks < lanes[1].blocks ? lanes[0].blocks : lanes[1].blocks;
            compress_two(&lanes[0], &lanes[1], fewer);
        }
        for (int i = busy - 1; i >= 0; i--) {
            if (lanes[i].blocks == 0) {
                finish(&lanes[i]);
                lanes[i] = lanes[--busy];
            }
        }
    }
}

/* Exact for every time that a file can have, from FUSE or a broken clock, too. */
static __int128 nanoseconds(struct timespec time)
{
    return (__int128)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* As in verdicts.py: a time that PostgreSQL can store, for there are some before 1677 or after
 * 2262. */
static int64_t bounded(__int128 time_ns)
{
    return time_ns > INT64_MAX ? INT64_MAX : time_ns < -INT64_MAX ? -INT64_MAX : (int64_t)time_ns;
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return bounded(nanoseconds(now));
}

/* Beneath the folder, with no symbolic link on the way: files that have one are looked at one by
 * one, in Python. */
static int open_beneath(int folder, const char *name, uint64_t flags)
{
    struct open_how how = {.flags = flags, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    return (int)syscall(SYS_openat2, folder, name, &how, sizeof how);
}

/* The kernel's struct statx and two of its bits, which the C library's headers may not have yet. */
typedef struct {
    uint32_t mask, before_inode[7];
    uint64_t inode, before_device[12];
    uint32_t major, minor;
    uint64_t mount_id, rest[13];
} Statx;
enum { WITH_INODE = 0x100, WITH_UNIQUE_MOUNT = 0x4000 };

/* The root, if it is still the directory that it was on the mount that it was; else -1. As
 * `roots.is_unmoved` does it. */
static int open_root(const char *path, uint64_t device, uint64_t inode, uint64_t mount_id)
{
    Statx found;
    int folder = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return -1;
    int known = syscall(SYS_statx, folder, "", AT_EMPTY_PATH, WITH_INODE | WITH_UNIQUE_MOUNT,
                        &found) == 0;
    uint64_t mount = known && found.mask & WITH_UNIQUE_MOUNT ? found.mount_id : 0;
    if (!known || found.inode != inode || mount != mount_id ||
        makedev(found.major, found.minor) != device) {
        close(folder);
        return -1;
    }
    return folder;
}

static int moved(const struct stat *a, const struct stat *b)
{
    return a->st_size != b->st_size || a->st_ino != b->st_ino || a->st_dev != b->st_dev ||
           nanoseconds(a->st_mtim) != nanoseconds(b->st_mtim) ||
           nanoseconds(a->st_ctim) != nanoseconds(b->st_ctim);
}

/* Whether an open failed for want of descriptors or memory, as in shortage.py. */
static int is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

/* The end of a file's reading: it counts if all of it came, nothing moved, and it had not changed
 * a moment before. Pages that were not there before are given back. */
static void settle(File *file, ssize_t got, int64_t racy_ns)
{
    struct stat after;
    file->done = got == file->facts.st_size && fstat(file->descriptor, &after) == 0 &&
                 !moved(&file->facts, &after) &&
                 (__int128)file->read_at_ns - nanoseconds(file->facts.st_ctim) >= racy_ns;
    if (!file->was_cached)
        posix_fadvise(file->descriptor, 0, 0, POSIX_FADV_DONTNEED);
    close(file->descriptor);
    file->descriptor = -1;
}

typedef struct {
    int64_t unit_no, index, since_ns, read_bytes; /* as in slot.py */
} Noted;

enum { WANT_SHA256 = 1, WANT_CONTENT = 2 };

typedef struct {
    int folder;
    uint64_t flags;
    size_t most_bytes, arena_bytes;
    uint8_t *arena;
    volatile Noted *noted;
    int64_t first_index, racy_ns;
    unsigned wanted;
} Plan;

static void note(const Plan *plan, size_t n, File *file)
{
    file->read_at_ns = now_ns();
    plan->noted->index = plan->first_index + n;
    plan->noted->since_ns = file->read_at_ns;
}

/* Whether a name is that of a file as simple as this module's: looked at before it is opened, for a
 * FIFO lets go a writer that waits for somebody to open it, and a device may do anything. Who puts
 * one in the place of a file between the look and the open can write in the folder, and lets go a
 * FIFO of his own; what is opened then is not taken for the file, see `settle`. Devices from elsewhere
 * cannot be put there: no link is followed. (A descriptor without content, opened anew by way of /proc,
 * would leave no such moment, and costs 5 us. The look takes the place of one at the open file: 0.7 us
 * of 9.3 for a file of 8 KiB.) */
static int is_simple(const Plan *plan, const char *name, struct stat *facts)
{
    return fstatat(plan->folder, name, facts, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) == 0 &&
           S_ISREG(facts->st_mode) && facts->st_nlink == 1 && facts->st_size >= 0 &&
           (size_t)facts->st_size <= plan->most_bytes;
}

/* Opens and reads files until they or the arena end, or no more can be opened at a time; returns
 * how many it took. */
static size_t read_some(const char *const *names, File *files, size_t count, const Plan *plan)
{
    size_t taken, used = 0, open = 0;
    for (taken = 0; taken < count; taken++) {
        File *file = &files[taken];
        file->descriptor = -1, file->done = 0, file->was_cached = 1;
        if (names[taken] == NULL)
            continue;
        note(plan, taken, file);
        if (!is_simple(plan, names[taken], &file->facts))
            continue;
        size_t size = file->facts.st_size, room = padded(size);
        if (used + room > plan->arena_bytes)
            break;
        int descriptor = open_beneath(plan->folder, names[taken], plan->flags);
        if (descriptor < 0) {
            if (open > 0 && is_shortage(errno))
                break; /* once these are closed there is room for it */
            continue;
        }
        file->descriptor = descriptor;
        file->offset = used;
        used += room;
        /* A byte more than there should be: a file that grew is noticed. */
        struct iovec into = {plan->arena + file->offset, size + 1};
        ssize_t got = preadv2(descriptor, &into, 1, 0, RWF_NOWAIT);
        if (got == (ssize_t)size) {
            settle(file, got, plan->racy_ns);
        } else {
            /* Not in the page cache (or not to be had that way): asked for now, read below, so
             * that the group's waits overlap. */
            file->was_cached = 0;
            open++;
            posix_fadvise(descriptor, 0, 0, POSIX_FADV_WILLNEED);
        }
    }
    for (size_t i = 0; i < taken; i++) {
        File *file = &files[i];
        if (file->descriptor < 0)
            continue;
        note(plan, i, file);
        size_t size = file->facts.st_size, got = 0;
        while (got <= size) {
            ssize_t more = pread(file->descriptor, plan->arena + file->offset + got,
                                 size + 1 - got, got);
            if (more <= 0)
                break;
            got += more;
        }
        settle(file, got, plan->racy_ns);
    }
    if (plan->wanted & WANT_SHA256)
        hash_all(files, taken, plan->arena);
    return taken;
}

static int has_sha(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & (1u << 29)) && /* SHA */
           __get_cpuid(1, &a, &b, &c, &d) && (c & (1u << 19)) && (c & (1u << 9)); /* SSE4.1, SSSE3 */
}

static PyObject *as_tuple(const File *file, const uint8_t *arena, unsigned wanted)
{
    const struct stat *facts = &file->facts;
    int hashed = wanted & WANT_SHA256, kept = wanted & WANT_CONTENT;
    int64_t mtime_ns = bounded(nanoseconds(facts->st_mtim));
    uint64_t stamps[] = {htobe64(mtime_ns), htobe64(bounded(nanoseconds(facts->st_ctim))),
                         htobe64(facts->st_dev), htobe64(facts->st_ino)};
    return Py_BuildValue(
        "y#LLLy#y#", hashed ? (const char *)file->digest : NULL, (Py_ssize_t)DIGEST,
        (long long)facts->st_size, (long long)mtime_ns,
        (long long)file->read_at_ns, (const char *)stamps, (Py_ssize_t)sizeof stamps,
        kept ? (const char *)arena + file->offset : NULL, (Py_ssize_t)facts->st_size);
}

PyDoc_STRVAR(read_and_hash_doc,
             "read_and_hash(root, (device, inode, mount), names, slot, first, limits, arena, wanted)\n"
             "\n"
             "For each name beneath the root (bytes, or None to leave it out) a tuple of digest,\n"
             "size in bytes, mtime and time of reading in nanoseconds, stamps (mtime, ctime, device,\n"
             "inode: 8 bytes each, big-endian) and content; or None where it is not a regular file of\n"
             "at most so many bytes that holds still, has no other name, and no link in its path.\n"
             "Wanted is 1 for the digest, 2 for the content, 3 for both; what is not wanted is None.\n"
             "None in place of the list if the root is not the directory with these numbers on the mount\n"
             "with this one (0: the kernel tells none).\n"
             "The limits are flags for open, the bytes, and the age in nanoseconds that the last\n"
             "change of a file has to have.");

/* A pointer a name; NULL for what is left out. */
static int take_names(PyObject *sequence, const char **names)
{
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(sequence); i++) {
        PyObject *name = PySequence_Fast_GET_ITEM(sequence, i);
        char *text = NULL;
        if (name != Py_None && PyBytes_AsStringAndSize(name, &text, NULL) < 0) {
            if (!PyErr_ExceptionMatches(PyExc_ValueError))
                return -1;
            PyErr_Clear(); /* a NUL inside: no file has such a name */
        }
        names[i] = text;
    }
    return 0;
}

/* Takes the results of some files; they lie in the arena until the next are read. */
static int put(PyObject *results, Py_ssize_t at, const File *files, Py_ssize_t count,
               const Plan *plan)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *found = files[i].done ? as_tuple(&files[i], plan->arena, plan->wanted)
                                        : Py_NewRef(Py_None);
        if (found == NULL)
            return -1;
        PyList_SET_ITEM(results, at + i, found);
    }
    return 0;
}

/* The results of all files beneath a folder, a group after the other. */
static PyObject *read_all(const char **names, File *files, Py_ssize_t count, Plan *plan)
{
    PyObject *results = PyList_New(count);
    int64_t first_index = plan->first_index;
    for (Py_ssize_t taken = 0; results != NULL && taken < count;) {
        size_t more;
        plan->first_index = first_index + taken;
        Py_BEGIN_ALLOW_THREADS;
        more = read_some(names + taken, files + taken, count - taken, plan);
        Py_END_ALLOW_THREADS;
        if (put(results, taken, files + taken, more, plan) < 0)
            Py_CLEAR(results);
        taken += more;
    }
    return results;
}

static PyObject *read_and_hash(PyObject *self, PyObject *args)
{
    PyObject *given, *results = NULL, *sequence = NULL;
    Py_buffer slot, arena;
    long long first, racy_ns;
    unsigned long long flags, device, inode, mount_id;
    unsigned wanted;
    Py_ssize_t most_bytes;
    const char *root, **names = NULL;
    File *files = NULL;
    if (!PyArg_ParseTuple(args, "y(KKK)Ow*L(KnL)w*I", &root, &device, &inode, &mount_id, &given,
                          &slot, &first, &flags, &most_bytes, &racy_ns, &arena, &wanted))
        return NULL;
    sequence = PySequence_Fast(given, "names are a sequence");
    if (sequence == NULL)
        goto end;
    Py_ssize_t count = PySequence_Fast_GET_SIZE(sequence);
    if (slot.len < (Py_ssize_t)sizeof(Noted) || most_bytes < 0 ||
        arena.len < (Py_ssize_t)padded(most_bytes)) {
        PyErr_SetString(PyExc_ValueError, "too little room");
        goto end;
    }
    names = PyMem_Calloc(count + 1, sizeof *names);
    files = PyMem_Calloc(count + 1, sizeof *files);
    if (names == NULL || files == NULL) {
        PyErr_NoMemory();
        goto end;
    }
    if (take_names(sequence, names) < 0)
        goto end;
    int folder;
    Py_BEGIN_ALLOW_THREADS;
    folder = open_root(root, device, inode, mount_id);
    Py_END_ALLOW_THREADS;
    if (folder < 0) {
        results = Py_NewRef(Py_None);
        goto end;
    }
    Plan plan = {folder, flags, most_bytes, arena.len, arena.buf, slot.buf, first, racy_ns, wanted};
    results = read_all(names, files, count, &plan);
    close(folder);
end:
    PyMem_Free(names);
    PyMem_Free(files);
    Py_XDECREF(sequence);
    PyBuffer_Release(&slot);
    PyBuffer_Release(&arena);
    return results;
}

PyDoc_STRVAR(hash_messages_doc, "hash_messages(messages) -> their SHA-256 digests, two and two: for checking.");

static PyObject *hash_messages(PyObject *self, PyObject *messages)
{
    if (!PyList_Check(messages))
        return PyErr_Format(PyExc_TypeError, "messages are a list");
    Py_ssize_t count = PyList_GET_SIZE(messages);
    PyObject *results = PyList_New(0);
    for (Py_ssize_t i = 0; results != NULL && i < count; i += 2) {
        File files[2];
        size_t room[2] = {0, 0};
        int pair = i + 1 < count ? 2 : 1;
        for (int j = 0; j < pair; j++)
            room[j] = padded(PyBytes_Size(PyList_GET_ITEM(messages, i + j)));
        uint8_t *arena = PyErr_Occurred() ? NULL : PyMem_Malloc(room[0] + room[1]);
        if (arena == NULL)
            return PyErr_Occurred() ? NULL : PyErr_NoMemory();
        for (int j = 0; j < pair; j++) {
            PyObject *message = PyList_GET_ITEM(messages, i + j);
            files[j].done = 1, files[j].offset = j ? room[0] : 0;
            files[j].facts.st_size = PyBytes_GET_SIZE(message);
            memcpy(arena + files[j].offset, PyBytes_AS_STRING(message), files[j].facts.st_size);
        }
        hash_all(files, pair, arena);
        PyMem_Free(arena);
        for (int j = 0; j < pair; j++) {
            PyObject *digest = PyBytes_FromStringAndSize((char *)files[j].digest, DIGEST);
            if (digest == NULL || PyList_Append(results, digest) < 0)
                return NULL;
            Py_DECREF(digest);
        }
    }
    return results;
}

PyDoc_STRVAR(hash_blocks_doc,
             "hash_blocks(state, blocks, other_state, other_blocks)\n"
             "\n"
             "Takes whole blocks of two messages into their states, side by side as far as both\n"
             "have any. A state is 32 bytes, the words in the order FEBA HGDC.");

static void load(Lane *lane, const Py_buffer *state, const Py_buffer *blocks)
{
    lane->abef = _mm_loadu_si128((const __m128i *)state->buf);
    lane->cdgh = _mm_loadu_si128((const __m128i *)state->buf + 1);
    lane->next = blocks->buf;
    lane->blocks = blocks->len / BLOCK;
}

static void save(const Lane *lane, const Py_buffer *state)
{
    _mm_storeu_si128((__m128i *)state->buf, lane->abef);
    _mm_storeu_si128((__m128i *)state->buf + 1, lane->cdgh);
}

static PyObject *hash_blocks(PyObject *self, PyObject *args)
{
    Py_buffer state[2], blocks[2];
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(args, "w*y*w*y*", &state[0], &blocks[0], &state[1], &blocks[1]))
        return NULL;
    if (state[0].len != DIGEST || state[1].len != DIGEST || blocks[0].len % BLOCK ||
        blocks[1].len % BLOCK) {
        PyErr_SetString(PyExc_ValueError, "states of 32 bytes, and whole blocks");
    } else {
        Py_BEGIN_ALLOW_THREADS;
        Lane lanes[2];
        for (int i = 0; i < 2; i++)
            load(&lanes[i], &state[i], &blocks[i]);
        size_t fewer = lanes[0].blocks < lanes[1].blocks ? lanes[0].blocks : lanes[1].blocks;
        compress_two(&lanes[0], &lanes[1], fewer);
        for (int i = 0; i < 2; i++) {
            compress_one(&lanes[i], lanes[i].blocks);
            save(&lanes[i], &state[i]);
        }
        Py_END_ALLOW_THREADS;
        result = Py_NewRef(Py_None);
    }
    for (int i = 0; i < 2; i++) {
        PyBuffer_Release(&state[i]);
        PyBuffer_Release(&blocks[i]);
    }
    return result;
}

static PyMethodDef methods[] = {
    {"hash_blocks", hash_blocks, METH_VARARGS, hash_blocks_doc},
    {"read_and_hash", read_and_hash, METH_VARARGS, read_and_hash_doc},
    {"hash_messages", hash_messages, METH_O, hash_messages_doc},
    {NULL, NULL, 0, NULL},
};

#endif

static int fill(PyObject *module)
{
#if SUPPORTED
    int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int probe = has_sha() ? open_beneath(root, ".", O_PATH | O_CLOEXEC) : -1;
    close(root);
    if (probe >= 0) { /* some containers forbid openat2 */
        close(probe);
        return PyModule_AddFunctions(module, methods);
    }
#endif
    PyErr_SetString(PyExc_ImportError, "not for this processor or kernel");
    return -1;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, fill}, {0, NULL}};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "fasthash._native", "Small files by the group.", 0,
    NULL, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&module); }

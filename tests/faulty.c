/* Reads that fail, for tests: LD_PRELOADed, it looks at the name of the file that is read.
 *
 * faulty-eio-NAME        every read fails with EIO
 * faulty-once-ERRNO-NAME the first read of all processes fails with that number
 * faulty-flip-NAME       the first read gives other bytes
 * faulty-early-NAME      the file ends half-way, whatever its size says
 * faulty-short-NAME      each read gives at most 1,000 bytes
 * faulty-hang-NAME       reads do not return before the file TOKENS/release is there
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *faulty_name(int fd, char *path, size_t size)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, size - 1);
    if (n < 0)
        return NULL;
    path[n] = 0;
    char *base = strrchr(path, '/');
    return base && strncmp(base, "/faulty-", 8) == 0 ? base + 8 : NULL;
}

static int first_time(const char *name)
{
    char token[4096];
    snprintf(token, sizeof token, "%s/%s", getenv("TOKENS"), name);
    int fd = open(token, O_CREAT | O_EXCL | O_WRONLY, 0600);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* Whether the read fails; else how many bytes it may give. */
static int before(int fd, off_t offset, size_t *limit, int *flip)
{
    char path[4096], release[4096];
    struct stat facts;
    const char *name = faulty_name(fd, path, sizeof path);
    if (name == NULL)
        return 0;
    if (strncmp(name, "eio-", 4) == 0)
        return errno = EIO;
    if (strncmp(name, "once-", 5) == 0 && first_time(name))
        return errno = atoi(name + 5);
    if (strncmp(name, "flip-", 5) == 0)
        *flip = first_time(name);
    if (strncmp(name, "short-", 6) == 0)
        *limit = 1000;
    if (strncmp(name, "early-", 6) == 0 && fstat(fd, &facts) == 0) {
        off_t at = offset >= 0 ? offset : lseek(fd, 0, SEEK_CUR), left = facts.st_size / 2 - at;
        *limit = left > 0 ? (size_t)left : 0;
    }
    if (strncmp(name, "hang-", 5) == 0) {
        snprintf(release, sizeof release, "%s/release", getenv("TOKENS"));
        while (access(release, F_OK) != 0)
            usleep(10000);
    }
    return 0;
}

static ssize_t faulty(int fd, void *buffer, size_t size, off_t offset)
{
    static ssize_t (*real_read)(int, void *, size_t);
    static ssize_t (*real_pread)(int, void *, size_t, off_t);
    if (real_read == NULL) {
        real_read = (ssize_t(*)(int, void *, size_t))dlsym(RTLD_NEXT, "read");
        real_pread = (ssize_t(*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread64");
    }
    size_t limit = size;
    int flip = 0;
    if (before(fd, offset, &limit, &flip))
        return -1;
    size_t wanted = limit < size ? limit : size;
    ssize_t got = offset < 0 ? real_read(fd, buffer, wanted) : real_pread(fd, buffer, wanted, offset);
    if (flip && got > 0)
        ((char *)buffer)[0] ^= 1;
    return got;
}

ssize_t read(int fd, void *buffer, size_t size) { return faulty(fd, buffer, size, -1); }
ssize_t pread64(int fd, void *buffer, size_t size, off_t offset) { return faulty(fd, buffer, size, offset); }
ssize_t pread(int fd, void *buffer, size_t size, off_t offset) { return faulty(fd, buffer, size, offset); }

ssize_t readv(int fd, const struct iovec *pieces, int count)
{
    return count ? faulty(fd, pieces[0].iov_base, pieces[0].iov_len, -1) : 0;
}

ssize_t preadv64v2(int fd, const struct iovec *pieces, int count, off_t offset, int flags)
{
    return count ? faulty(fd, pieces[0].iov_base, pieces[0].iov_len, offset) : 0;
}

ssize_t preadv2(int fd, const struct iovec *pieces, int count, off_t offset, int flags)
{
    return preadv64v2(fd, pieces, count, offset, flags);
}

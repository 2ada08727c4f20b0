/* Loaded into a process: before a file whose name begins with $STORMPROOF_TEST_UNSYNCED is written to, what stands there is
   noted in FILE.undo, and the note is dropped once the file is flushed to the disk. Who takes back what the notes say has the
   files as a power cut leaves them that loses all that was not flushed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))

/* The file's notes, opened; -1: it is none of those. */
static int notes(int fd, int flags)
{
    const char *beginning = getenv("STORMPROOF_TEST_UNSYNCED");
    char link[64], path[PATH_MAX + 8];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX);
    if (!beginning || length <= 0)
        return -1;
    path[length] = 0;
    const char *end = path + length;
    /* The shared memory beside a log is made anew after a crash. */
    if (strncmp(path, beginning, strlen(beginning)) || (length > 4 && !strcmp(end - 4, "-shm")) || strstr(path, "-workers/"))
        return -1;
    strcpy(path + length, ".undo");
    return open(path, flags | O_CLOEXEC, 0600);
}

/* Notes the length of the file, the offset and the length of a write, how many bytes stand there, and these. */
static void note(int fd, off_t offset, size_t length)
{
    int to = notes(fd, O_WRONLY | O_CREAT | O_APPEND);
    struct stat about;
    if (to < 0 || fstat(fd, &about))
        return;
    char *record = malloc(32 + length);
    ssize_t stands = pread(fd, record + 32, length, offset);
    int64_t head[4] = {about.st_size, offset, length, stands > 0 ? stands : 0};
    memcpy(record, head, sizeof head);
    if (REAL(write)(to, record, 32 + head[3]) < 0)
        abort();
    free(record);
    close(to);
}

static int flushed(int fd, int (*flush)(int))
{
    pthread_mutex_lock(&turn);
    int answer = flush(fd);
    int to = answer ? -1 : notes(fd, O_WRONLY | O_TRUNC);
    if (to >= 0)
        close(to);
    pthread_mutex_unlock(&turn);
    return answer;
}

int fsync(int fd) { return flushed(fd, REAL(fsync)); }
int fdatasync(int fd) { return flushed(fd, REAL(fdatasync)); }

#define NOTED(type, fd, offset, length, call)                                                                             \
    pthread_mutex_lock(&turn);                                                                                             \
    note(fd, offset, length);                                                                                              \
    type answer = call;                                                                                                    \
    pthread_mutex_unlock(&turn);                                                                                           \
    return answer

ssize_t write(int fd, const void *from, size_t length)
{
    off_t at = lseek(fd, 0, SEEK_CUR);
    if (at < 0)
        return REAL(write)(fd, from, length);
    NOTED(ssize_t, fd, at, length, REAL(write)(fd, from, length));
}

ssize_t pwrite(int fd, const void *from, size_t length, off_t at)
{
    NOTED(ssize_t, fd, at, length, REAL(pwrite)(fd, from, length, at));
}

ssize_t pwrite64(int fd, const void *from, size_t length, off64_t at)
{
    NOTED(ssize_t, fd, at, length, REAL(pwrite64)(fd, from, length, at));
}

static size_t beyond(int fd, off_t length)
{
    struct stat about;
    return !fstat(fd, &about) && about.st_size > length ? about.st_size - length : 0;
}

int ftruncate(int fd, off_t length)
{
    NOTED(int, fd, length, beyond(fd, length), REAL(ftruncate)(fd, length));
}

int ftruncate64(int fd, off64_t length)
{
    NOTED(int, fd, length, beyond(fd, length), REAL(ftruncate64)(fd, length));
}

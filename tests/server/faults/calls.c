/* Fails one of the calls that the engine makes on the files of a directory. To be preloaded.
 *
 * FAULT_DIR    the directory
 * FAULT_LOG    a file to which each call is appended: its number, name and file
 * FAULT_AT     the number of the call that fails; 0: none
 * FAULT_ARM    a file that may appear at any time: "N CALL FILE". The Nth of these calls from then on fails, on files
 *              whose names begin like this; "any" stands for all calls, or all files, "." for the directory. The
 *              file is removed
 * FAULT_ERRNO  the error that it fails with
 * FAULT_READS  set: reads are counted, too
 *
 * Counted are calls on files with the engine's names, and on the directory itself. What the engine gives to the
 * kernel by syscall(2), its writes to the log, is not seen here. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long count;
static struct {
	long left;
	char call[16], file[32];
} armed;

static int is_engines(const char *path)
{
	const char *dir = getenv("FAULT_DIR"), *name;
	size_t n;
	if (dir == NULL || path == NULL || strncmp(path, dir, n = strlen(dir)) != 0)
		return 0;
	if (path[n] == 0)
		return 1;
	if (path[n] != '/')
		return 0;
	name = path + n + 1;
	return strncmp(name, "open-", 5) == 0 || strncmp(name, "tmp-", 4) == 0 || strncmp(name, "snapshot-", 9) == 0 ||
	       strncmp(name, "metadata", 8) == 0 || (strlen(name) == 33 && name[16] == '-');
}

static int is_armed(const char *call, const char *file, int (*real_open)(const char *, int, ...))
{
	const char *arm = getenv("FAULT_ARM");
	char text[128];
	ssize_t n;
	int fd;
	if (arm != NULL && armed.left == 0 && (fd = real_open(arm, O_RDONLY | O_CLOEXEC)) >= 0) {
		n = read(fd, text, sizeof text - 1);
		close(fd);
		text[n < 0 ? 0 : n] = 0;
		if (sscanf(text, "%ld %15s %31s", &armed.left, armed.call, armed.file) != 3)
			abort();
		NEXT(unlink)(arm);
	}
	if (armed.left == 0 || (strcmp(armed.call, "any") != 0 && strcmp(armed.call, call) != 0))
		return 0;
	if (strcmp(armed.file, ".") == 0 ? file[0] != 0
					 : strcmp(armed.file, "any") != 0 && strncmp(file, armed.file, strlen(armed.file)) != 0)
		return 0;
	return --armed.left == 0;
}

/* Whether this call is the one that fails; errno is set then. */
static int fails(const char *call, const char *path)
{
	long at;
	int log, is_it;
	char line[PATH_MAX + 64];
	const char *text;
	ssize_t (*real_write)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
	int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
	if (!is_engines(path))
		return 0;
	at = (text = getenv("FAULT_AT")) != NULL ? atol(text) : 0;
	pthread_mutex_lock(&lock);
	is_it = is_armed(call, path + strlen(getenv("FAULT_DIR")), real_open) | (++count == at);
	if ((text = getenv("FAULT_LOG")) != NULL && (log = real_open(text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) >= 0) {
		int n = snprintf(line, sizeof line, "%ld %s %s%s\n", count, call, path + strlen(getenv("FAULT_DIR")), is_it ? " fails" : "");
		if (real_write(log, line, (size_t)n) < 0)
			abort();
		close(log);
	}
	pthread_mutex_unlock(&lock);
	if (is_it)
		errno = atoi(getenv("FAULT_ERRNO"));
	return is_it;
}

static int fails_on(const char *call, int fd)
{
	char link[64], path[PATH_MAX];
	ssize_t n;
	int before = errno;
	if (getenv("FAULT_DIR") == NULL)
		return 0;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof path - 1);
	errno = before;
	if (n < 0)
		return 0;
	path[n] = 0;
	return fails(call, path);
}

#define OPEN(name)                                                                     \
	int name(const char *path, int flags, ...)                                     \
	{                                                                              \
		va_list rest;                                                          \
		mode_t mode;                                                           \
		va_start(rest, flags);                                                 \
		mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;     \
		va_end(rest);                                                          \
		/* The server itself reads these all the time. */                      \
		if ((flags & O_ACCMODE) == O_RDONLY && strstr(path, "/metadata") != NULL) \
			return NEXT(name)(path, flags, mode);                          \
		return fails(flags & O_CREAT ? "create" : "open", path) ? -1 : NEXT(name)(path, flags, mode); \
	}
OPEN(open)
OPEN(open64)

#define ON_FD(type, name, parameters, arguments, call)            \
	type name parameters                                      \
	{                                                         \
		return fails_on(call, fd) ? -1 : NEXT(name) arguments; \
	}
ON_FD(int, ftruncate, (int fd, off_t size), (fd, size), "ftruncate")
ON_FD(int, ftruncate64, (int fd, off64_t size), (fd, size), "ftruncate")
ON_FD(int, fsync, (int fd), (fd), "fsync")
ON_FD(int, fdatasync, (int fd), (fd), "fdatasync")
ON_FD(ssize_t, write, (int fd, const void *bytes, size_t n), (fd, bytes, n), "write")
ON_FD(ssize_t, pwrite, (int fd, const void *bytes, size_t n, off_t at), (fd, bytes, n, at), "write")
ON_FD(ssize_t, pwrite64, (int fd, const void *bytes, size_t n, off64_t at), (fd, bytes, n, at), "write")
ON_FD(ssize_t, writev, (int fd, const struct iovec *parts, int n), (fd, parts, n), "write")
ON_FD(ssize_t, pwritev, (int fd, const struct iovec *parts, int n, off_t at), (fd, parts, n, at), "write")
ON_FD(ssize_t, pwritev64, (int fd, const struct iovec *parts, int n, off64_t at), (fd, parts, n, at), "write")

static int fails_to_read(int fd)
{
	return getenv("FAULT_READS") != NULL && fails_on("read", fd);
}

#define READ(name, parameters, arguments)                              \
	ssize_t name parameters                                        \
	{                                                              \
		return fails_to_read(fd) ? -1 : NEXT(name) arguments;  \
	}
READ(read, (int fd, void *bytes, size_t n), (fd, bytes, n))
READ(pread, (int fd, void *bytes, size_t n, off_t at), (fd, bytes, n, at))
READ(pread64, (int fd, void *bytes, size_t n, off64_t at), (fd, bytes, n, at))
READ(readv, (int fd, const struct iovec *parts, int n), (fd, parts, n))

int posix_fallocate(int fd, off_t at, off_t bytes)
{
	return fails_on("fallocate", fd) ? errno : NEXT(posix_fallocate)(fd, at, bytes);
}

int rename(const char *from, const char *to) { return fails("rename", from) ? -1 : NEXT(rename)(from, to); }

int unlink(const char *path) { return fails("unlink", path) ? -1 : NEXT(unlink)(path); }

int mkstemp(char *template) { return fails("mkstemp", template) ? -1 : NEXT(mkstemp)(template); }

int mkostemp(char *template, int flags) { return fails("mkstemp", template) ? -1 : NEXT(mkostemp)(template, flags); }

#define SCANDIR(name, entry)                                                                          \
	int name(const char *path, struct entry ***list, int (*select)(const struct entry *),         \
		 int (*order)(const struct entry **, const struct entry **))                          \
	{                                                                                             \
		return fails("scandir", path) ? -1 : NEXT(name)(path, list, select, order);           \
	}
SCANDIR(scandir, dirent)
SCANDIR(scandir64, dirent64)

/* What Ananta adds to PyInstaller's bootloader on Linux. build/bootloader.py puts the calls of these functions in.
 *
 * The one-file executable is two processes: the outer one unpacks and waits, the inner one is Python. The outer one keeps
 * the environment it was started with, secrets included, where every process of the same user could read it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#ifndef ST_NOEXEC
    #define ST_NOEXEC 8 /* glibc shows it under _GNU_SOURCE only; the value is Linux's */
#endif

extern char **environ;

static char ananta_reasons[2048]; /* why no directory was taken so far, a line each */

static int
ananta_refused(const char *directory, const char *reason)
{
    size_t used = strlen(ananta_reasons);

    snprintf(ananta_reasons + used, sizeof(ananta_reasons) - used, "  %.200s %s\n", directory, reason);
    return 0;
}

/* Returns 1 when libraries can be unpacked into this directory and be loaded from there, else 0. */
static int
ananta_usable(const char *directory, const char *executable)
{
    struct statvfs volume;
    struct stat file;
    char reason[100];

    if (statvfs(directory, &volume) != 0) {
        return ananta_refused(directory, errno == ENOENT ? "does not exist" : strerror(errno));
    }
    if (volume.f_flag & ST_NOEXEC) {
        return ananta_refused(directory, "is mounted noexec: no program may run from there");
    }
    /* Little in the file is compressed, so that it takes about as much room unpacked. */
    if (volume.f_blocks > 0 && stat(executable, &file) == 0
            && (unsigned long long)volume.f_bavail * volume.f_frsize < (unsigned long long)file.st_size) {
        snprintf(reason, sizeof(reason), "has %llu MiB free and %llu MiB are needed",
                 (unsigned long long)volume.f_bavail * volume.f_frsize >> 20, ((unsigned long long)file.st_size >> 20) + 1);
        return ananta_refused(directory, reason);
    }
    if (access(directory, W_OK | X_OK) != 0) {
        return ananta_refused(directory, errno == EROFS ? "is read-only" : "may not be written to");
    }
    return 1;
}

static void
ananta_no_directory(void)
{
    fprintf(stderr, "ananta: there is no directory to unpack into:\n%s"
            "Name one that programs may run from: TMPDIR=/a/directory ananta\n", ananta_reasons);
}

/* In the inner process, before it becomes Python: it ends in order when the outer one dies. */
static void
ananta_inner(pid_t outer)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != outer) {
        _exit(1); /* it died before this was set */
    }
}

/* In the outer process, which needs no environment any more: the inner one has its copy. */
static void
ananta_outer(void)
{
    char **entry;

    for (entry = environ; *entry != NULL; entry++) {
        explicit_bzero(*entry, strlen(*entry));
    }
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/* files.h -- a directory of a test's own, with the files that it needs. One at a time; it is
 * removed by files_end, and at exit. */
#ifndef FILES_H
#define FILES_H

#include "../test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

static char files_directory[64];

static inline void files_remove(const char *path) {
    char below[512];
    DIR *directory = opendir(path);
    if (directory != NULL) {
        const struct dirent *entry;
        while ((entry = readdir(directory)) != NULL) {
            if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
            const int length = snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
            if (length >= (int)sizeof below) continue;
            if (unlink(below) != 0) files_remove(below);
        }
        closedir(directory);
    }
    rmdir(path);
}

static inline void files_end(void) {
    if (files_directory[0] != '\0') files_remove(files_directory);
    files_directory[0] = '\0';
}

static inline void files_begin(void) {
    static bool registered;
    files_end();
    snprintf(files_directory, sizeof files_directory, "/tmp/lease-test-XXXXXX");
    if (mkdtemp(files_directory) == NULL) _exit(2);
    if (!registered) registered = atexit(files_end) == 0;
}

/* The path of a name in the directory; good until eight others have been asked for. */
static inline const char *files_path(const char *name) {
    static char paths[8][192];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", files_directory, name);
    return path;
}

/* Folders in the name are created. */
static inline const char *files_write_bytes(const char *name, const void *bytes, size_t count) {
    char path[192];
    snprintf(path, sizeof path, "%s/%s", files_directory, name);
    for (char *slash = strchr(path + strlen(files_directory) + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, bytes, count) != (ssize_t)count || close(fd) != 0) {
        printf("(cannot write %s: %s)\n", path, strerror(errno));
        _exit(2);
    }
    return files_path(name);
}

static inline const char *files_write(const char *name, const char *text) {
    return files_write_bytes(name, text, strlen(text));
}

#endif

/* The least a small file can cost with OpenSSL: open, fstat, one read, one digest, close. Takes
   paths on standard input and prints the microseconds of processor time a file, best of three. */
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

int main(void) {
    static unsigned char buffer[1 << 20], digest[32];
    static char line[4096];
    size_t count = 0, room = 1 << 20;
    char **paths = malloc(room * sizeof *paths);
    while (count < room && fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        paths[count++] = strdup(line);
    }
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_MD *sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    double best = 1e18;
    for (int round = 0; round < 3; round++) {
        double began = now();
        for (size_t i = 0; i < count; i++) {
            struct stat facts;
            unsigned length;
            int descriptor = open(paths[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
            if (descriptor < 0 || fstat(descriptor, &facts) != 0)
                return 1;
            ssize_t got = read(descriptor, buffer, sizeof buffer);
            EVP_DigestInit_ex2(context, sha256, NULL);
            EVP_DigestUpdate(context, buffer, got);
            EVP_DigestFinal_ex(context, digest, &length);
            close(descriptor);
        }
        double took = (now() - began) / count;
        best = took < best ? took : best;
    }
    printf("%.3f\n", best);
    return 0;
}

/* Classifies images with a network that was exported by `minisqx export MODEL net.c`. */

#include "net.h"
#include <stdio.h>

static net_memory memory; /* large: not for a small stack */

/* Reads a binary PPM file (P6) of the network's size with values up to 255. Returns whether it is one. */
static int read_ppm(const char *path, uint8_t *rgb)
{
    const size_t bytes = 3u * NET_HEIGHT * NET_WIDTH;
    int width = 0, height = 0, largest = 0, is_read = 0;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return 0;
    }
    if (fscanf(file, "P6 %d %d %d", &width, &height, &largest) != 3 || largest != 255)
        fprintf(stderr, "%s: expected a binary PPM file (P6) without comments, with values up to 255\n", path);
    else if (width != NET_WIDTH || height != NET_HEIGHT)
        fprintf(stderr, "%s: %d x %d pixels, expected %d x %d\n", path, width, height, NET_WIDTH, NET_HEIGHT);
    else if (fgetc(file) == EOF || fread(rgb, 1, bytes, file) != bytes)
        fprintf(stderr, "%s: the file ends too early\n", path);
    else
        is_read = 1;
    fclose(file);
    return is_read;
}

int main(int count, char **paths)
{
    static uint8_t rgb[3 * NET_HEIGHT * NET_WIDTH];
    float probabilities[NET_CLASSES];
    int failed = 0;
    if (count < 2) {
        fprintf(stderr, "usage: %s IMAGE.ppm ...\n", paths[0]);
        return 2;
    }
    for (int i = 1; i < count; i++) {
        if (!read_ppm(paths[i], rgb)) {
            failed = 1;
            continue;
        }
        int best = 0;
        net_infer(rgb, probabilities, &memory);
        for (int j = 1; j < NET_CLASSES; j++)
            if (probabilities[j] > probabilities[best]) best = j;
        printf("%s: %s %.1f %%\n", paths[i], net_classes[best], 100.0 * (double)probabilities[best]);
    }
    return failed;
}

/* A cable between two network namespaces that delays each packet: delay_line NAMESPACE NAMESPACE MICROSECONDS MEGABYTES_PER_SECOND
 *
 * In each namespace it makes a device `cable`. A packet leaves at the other end when it has passed at the given speed, after those
 * before it, and then the delay. Linux has `tc netem` for that, which not every kernel is built with. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { PACKETS = 4096, LARGEST = 65536 };

struct packet {
    double due;
    int size;
    char *bytes;
};

static struct packet queue[2][PACKETS];
static unsigned first[2], last[2];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int device_in(const char *name) {
    char path[256];
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    snprintf(path, sizeof path, "/var/run/netns/%s", name);
    int space = open(path, O_RDONLY), device;
    if (space < 0 || setns(space, CLONE_NEWNET) < 0 || (device = open("/dev/net/tun", O_RDWR | O_NONBLOCK)) < 0) {
        perror(path);
        exit(1);
    }
    strcpy(request.ifr_name, "cable");
    if (ioctl(device, TUNSETIFF, &request) < 0) {
        perror("TUNSETIFF");
        exit(1);
    }
    close(space);
    return device;
}

int main(int count, char **words) {
    if (count != 5) return 2;
    double delay = atof(words[3]), per_byte = 1 / atof(words[4]), free_at[2] = {0, 0};
    int devices[2] = {device_in(words[1]), device_in(words[2])};
    for (int side = 0; side < 2; side++)
        for (int at = 0; at < PACKETS; at++) queue[side][at].bytes = malloc(LARGEST);
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct pollfd polled[2] = {{devices[0], POLLIN, 0}, {devices[1], POLLIN, 0}};
        double wait = 1e6;
        for (int side = 0; side < 2; side++) {
            /* What came in at `side` leaves at the other side. */
            while (first[side] != last[side] && queue[side][first[side] % PACKETS].due <= now()) {
                struct packet *packet = &queue[side][first[side]++ % PACKETS];
                if (write(devices[!side], packet->bytes, packet->size) < 0 && errno != EIO) perror("write"); /* EIO: not up yet */
            }
            if (first[side] != last[side]) {
                double left = queue[side][first[side] % PACKETS].due - now();
                wait = left < wait ? left : wait;
            }
        }
        if (wait < 0) wait = 0;
        struct timespec pause = {0, wait < 999999 ? (long)(wait * 1e3) : 999999999};
        ppoll(polled, 2, &pause, NULL);
        for (int side = 0; side < 2; side++) {
            while (last[side] - first[side] < PACKETS) {
                struct packet *packet = &queue[side][last[side] % PACKETS];
                packet->size = read(devices[side], packet->bytes, LARGEST);
                if (packet->size <= 0) break;
                double start = free_at[side] > now() ? free_at[side] : now();
                free_at[side] = start + packet->size * per_byte;
                packet->due = free_at[side] + delay;
                last[side]++;
            }
        }
    }
}

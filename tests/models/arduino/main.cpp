// The sketch as a program of the host; with arguments it frames them instead: CHANNEL SEQUENCE HEX...
#include <stdlib.h>

#include "ssi_mpu6050.ino"

int main(int count, char **given) {
  for (int at = 1; at + 2 < count; at += 3) {
    const size_t bytes = strlen(given[at + 2]) / 2;
    uint8_t *framed = (uint8_t *)malloc(bytes + ssi::OVERHEAD);
    for (size_t i = 0; i < bytes; i++) sscanf(given[at + 2] + 2 * i, "%2hhx", framed + ssi::HEADER + i);
    const size_t size = ssi::close_packet(framed, atoi(given[at]), strtoul(given[at + 1], nullptr, 10), bytes);
    for (size_t i = 0; i < size; i++) printf("%02x", framed[i]);
    printf("\n");
    free(framed);
  }
  if (count > 1) return 0;
  setup();
  for (;;) loop();
}

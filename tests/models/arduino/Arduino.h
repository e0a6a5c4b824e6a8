// As much of Arduino as the sketch needs, on the host: Serial is descriptor 0.
#pragma once
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

inline unsigned long millis() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000UL + now.tv_nsec / 1000000;
}
inline void delay(unsigned long ms) { usleep(ms * 1000); }

struct HostSerial {
  void begin(long) {}
  int available() {
    pollfd waits = {0, POLLIN, 0};
    return poll(&waits, 1, 1) == 1 && (waits.revents & POLLIN);
  }
  int read() {
    uint8_t byte;
    if (::read(0, &byte, 1) != 1) _exit(0);
    return byte;
  }
  size_t write(const uint8_t *data, size_t count) {
    for (size_t done = 0; done < count;) {
      const ssize_t some = ::write(0, data + done, count - done);
      if (some <= 0) _exit(0);
      done += some;
    }
    return count;
  }
  void print(const char *text) { write((const uint8_t *)text, strlen(text)); }
  void print(long number) { char text[24]; snprintf(text, sizeof text, "%ld", number); print(text); }
  void print(int number) { print((long)number); }
};
inline HostSerial Serial;

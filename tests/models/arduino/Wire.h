// Arduino's I2C, on the host: descriptor $CHIP leads to a virtual chip (drivers/ports/virtual/i2c.py has the messages).
#pragma once
#include <stdlib.h>

#include "Arduino.h"

class HostWire {
 public:
  void begin() {}
  void setClock(long) {}
  void beginTransmission(uint8_t) { length_ = 0; }
  size_t write(uint8_t byte) {
    if (length_ == sizeof sent_) abort();
    sent_[length_++] = byte;
    return 1;
  }
  int endTransmission(bool = true) {
    register_ = sent_[0];
    return length_ > 1 ? transfer(0, length_ - 1, sent_ + 1, length_ - 1) : 0;
  }
  uint8_t requestFrom(uint8_t, uint8_t count) {
    if (count > sizeof sent_) abort();  // an Uno has no more
    at_ = 2;
    return transfer(1, count, nullptr, 0) == 0 ? count : 0;
  }
  int read() { return answer_[at_++]; }

 private:
  void exactly(uint8_t *into, size_t count) {
    for (ssize_t some; count; into += some, count -= some)
      if ((some = ::read(chip_, into, count)) <= 0) _exit(0);
  }
  int transfer(uint8_t kind, uint16_t count, const uint8_t *data, uint32_t bytes) {
    uint8_t message[48];
    const uint32_t size = 4 + bytes;
    memcpy(message, &size, 4);
    message[4] = kind;
    message[5] = register_;
    memcpy(message + 6, &count, 2);
    if (bytes) memcpy(message + 8, data, bytes);
    if (::write(chip_, message, 4 + size) != 4 + size) _exit(0);
    uint32_t answered;
    exactly((uint8_t *)&answered, 4);
    exactly(answer_, answered);
    return answer_[0] | answer_[1] << 8;
  }

  const int chip_ = atoi(getenv("CHIP") ? getenv("CHIP") : "-1");
  uint8_t sent_[32], answer_[64], register_ = 0;
  size_t length_ = 0, at_ = 0;
};
inline HostWire Wire;

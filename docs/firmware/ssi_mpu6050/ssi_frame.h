// SensiML Simple Streaming version 2, the device's side: its packets, its announcement, and what the host says.
// Plain C++11; needs nothing of Arduino.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace ssi {

// offset   0     1        3         4        5          9            9 + n
//          0xff  n + 6    reserved  channel  sequence   payload ...  XOR of all from 3 on
//          u8    u16      0         u8       u32        n bytes      u8               (little endian)
const size_t HEADER = 9, OVERHEAD = 10;

// Puts the header before a payload of n bytes that begins at packet + HEADER, and the checksum behind it.
// Returns the bytes of the whole packet.
inline size_t close_packet(uint8_t *packet, uint8_t channel, uint32_t sequence, size_t n) {
  const size_t length = n + 6;
  packet[0] = 0xff;
  packet[1] = length & 0xff;
  packet[2] = length >> 8;
  packet[3] = 0;
  packet[4] = channel;
  for (int i = 0; i < 4; i++) packet[5 + i] = (sequence >> (8 * i)) & 0xff;
  uint8_t check = 0;
  for (size_t i = 3; i < HEADER + n; i++) check ^= packet[i];
  packet[HEADER + n] = check;
  return n + OVERHEAD;
}

// The line that an idle device repeats. Out is Arduino's Serial, or whatever prints text and numbers.
template <class Out>
void announce(Out &out, long rate_hz, int samples_per_packet, const char *const *columns, int count) {
  out.print("{\"version\":2,\"sample_rate\":");
  out.print(rate_hz);
  out.print(",\"samples_per_packet\":");
  out.print(samples_per_packet);
  out.print(",\"column_location\":{");
  for (int i = 0; i < count; i++) {
    out.print(i ? ",\"" : "\"");
    out.print(columns[i]);
    out.print("\":");
    out.print(i);
  }
  out.print("}}\n");
}

// Listens for "connect" and "disconnect", wherever in the line they stand.
class Host {
 public:
  bool wants_data = false;

  void hear(char c) {
    memmove(heard_, heard_ + 1, sizeof heard_ - 1);
    heard_[sizeof heard_ - 1] = c;
    if (memcmp(heard_, "disconnect", 10) == 0) wants_data = false;  // which ends like the other
    else if (memcmp(heard_ + 3, "connect", 7) == 0) wants_data = true;
  }

 private:
  char heard_[10] = {0};
};

}  // namespace ssi

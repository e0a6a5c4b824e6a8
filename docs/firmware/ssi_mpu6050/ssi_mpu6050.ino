// Streams the acceleration and rotation of an MPU-6050 as SensiML Simple Streaming version 2, for the driver `ssi`.
//
// Wiring: VCC 3.3 V (many breakout boards take 5 V), GND, SDA and SCL of the board. The chip's own clock and FIFO pace
// the samples, so that no loop of this sketch makes them jitter. Register numbers: RM-MPU-6000A rev. 4.2.
#include <Arduino.h>
#include <Wire.h>

#include "ssi_frame.h"

const uint8_t CHIP = 0x68;        // 0x69 where AD0 is high
const uint16_t RATE_HZ = 100;     // 1000 divided by a whole number from 1 to 250
const uint8_t ROWS = 8;           // samples in a packet
const long BAUD = 115200;         // carries 869 samples a second; boards with a USB of their own need not care

const char *const COLUMNS[] = {"AccelerometerX", "AccelerometerY", "AccelerometerZ",
                               "GyroscopeX", "GyroscopeY", "GyroscopeZ"};
const uint8_t ROW_BYTES = 12;
const size_t PAYLOAD = ROWS * ROW_BYTES;

ssi::Host host;
uint8_t packet[ssi::OVERHEAD + PAYLOAD];
uint32_t sequence = 0;            // of the last packet; the first has 1
bool sampling = false;
unsigned long announced_ms = 0, told_ms = 0;  // until told_ms the host has all that was measured

bool write_register(uint8_t address, uint8_t value) {
  Wire.beginTransmission(CHIP);
  Wire.write(address);
  Wire.write(value);
  return Wire.endTransmission() == 0;
}

bool read_registers(uint8_t address, uint8_t *into, uint8_t count) {
  Wire.beginTransmission(CHIP);
  Wire.write(address);
  if (Wire.endTransmission(false) != 0 || Wire.requestFrom(CHIP, count) != count) return false;
  for (uint8_t i = 0; i < count; i++) into[i] = Wire.read();
  return true;
}

bool wake_up() {
  uint8_t id = 0;
  if (!read_registers(0x75, &id, 1)) return false;
  write_register(0x6b, 0x80);                     // PWR_MGMT_1: reset
  delay(100);
  write_register(0x6b, 0x01);                     // awake, clock of the gyroscope
  write_register(0x19, 1000 / RATE_HZ - 1);       // SMPLRT_DIV
  write_register(0x1a, 0x03);                     // CONFIG: 44 Hz low pass
  write_register(0x1b, 1 << 3);                   // GYRO_CONFIG: 500 degrees/s, 65.5 a degree/s
  write_register(0x1c, 1 << 3);                   // ACCEL_CONFIG: 4 g, 8192 a g
  return true;
}

// Whether the FIFO lost something since this was last asked (INT_STATUS), or the chip does not say.
bool ran_over() {
  uint8_t status = 0;
  return !read_registers(0x3a, &status, 1) || (status & 0x10);
}

void begin_sampling() {
  write_register(0x23, 0x00);                     // FIFO_EN
  write_register(0x6a, 0x04);                     // USER_CTRL: an empty FIFO
  write_register(0x6a, 0x40);
  ran_over();                                     // forgets what was before
  write_register(0x23, 0x78);                     // gyroscope and accelerometer
  sampling = true;
}

// What the FIFO could not hold is gone; the host sees by the sequence how much, as well as the clock here knows.
void lose() {
  const unsigned long packet_ms = 1000UL * ROWS / RATE_HZ;
  begin_sampling();
  const unsigned long now_ms = millis();
  sequence += (now_ms - told_ms + packet_ms / 2) / packet_ms;
  told_ms = now_ms;
}

// The oldest of the `rows` that waited in the FIFO at `looked_ms`.
void send_packet(uint16_t rows, unsigned long looked_ms) {
  uint8_t raw[2 * ROW_BYTES];                     // two rows fit into the 32 bytes that Wire has on an Uno
  for (uint8_t row = 0; row < ROWS; row += 2) {
    const uint8_t bytes = (ROWS - row > 1 ? 2 : 1) * ROW_BYTES;
    if (!read_registers(0x74, raw, bytes)) return lose();
    uint8_t *to = packet + ssi::HEADER + row * ROW_BYTES;
    for (uint8_t i = 0; i < bytes; i += 2) {      // the chip is big endian
      to[i] = raw[i + 1];
      to[i + 1] = raw[i];
    }
  }
  if (ran_over()) return lose();                  // before all of it was read: it may be in pieces
  Serial.write(packet, ssi::close_packet(packet, 0, ++sequence, PAYLOAD));
  told_ms = looked_ms - (rows - ROWS) * 1000UL / RATE_HZ;
}

void setup() {
  Serial.begin(BAUD);
  Wire.begin();
  Wire.setClock(400000);
  while (!wake_up()) {
    Serial.print("no MPU-6050 answers; check the wiring and CHIP\n");
    delay(1000);
  }
}

void loop() {
  while (Serial.available()) host.hear(Serial.read());
  if (!host.wants_data) {
    sampling = false;
    if (millis() - announced_ms >= 500) {
      announced_ms = millis();
      ssi::announce(Serial, RATE_HZ, ROWS, COLUMNS, 6);
    }
    return;
  }
  if (!sampling) {
    begin_sampling();
    told_ms = millis();
  }
  const unsigned long looked_ms = millis();
  uint8_t count[2] = {0, 0};
  if (!read_registers(0x72, count, 2)) return;
  const uint16_t rows = ((uint16_t)count[0] << 8 | count[1]) / ROW_BYTES;
  if (rows >= ROWS) send_packet(rows, looked_ms);
}

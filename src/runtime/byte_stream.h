#pragma once
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

/// Plain data as bytes and back. Numbers are little-endian in their own width, lists follow their
/// length, alternatives follow their number, and a struct is what its overload of
/// `fields(value)` ties together: one description for both directions.
namespace corf::runtime {

static_assert(std::endian::native == std::endian::little, "numbers are copied as they are");

template <typename T>
concept Number = std::integral<T> || std::floating_point<T> || std::is_enum_v<T>;

class ByteWriter {
 public:
  template <Number T>
  void write(const T& value) {
    const auto* from = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), from, from + sizeof(T));
  }
  void write(const std::string& text) {
    write(static_cast<uint64_t>(text.size()));
    const auto* from = reinterpret_cast<const std::byte*>(text.data());
    bytes_.insert(bytes_.end(), from, from + text.size());
  }
  template <typename T>
  void write(const std::vector<T>& list) {
    write(static_cast<uint64_t>(list.size()));
    for (const T& value : list) write(value);
  }
  template <typename K, typename V>
  void write(const std::map<K, V>& entries) {
    write(static_cast<uint64_t>(entries.size()));
    for (const auto& [key, value] : entries) {
      write(key);
      write(value);
    }
  }
  template <typename... T>
  void write(const std::variant<T...>& alternatives) {
    write(static_cast<uint8_t>(alternatives.index()));
    std::visit([&](const auto& value) { write(value); }, alternatives);
  }
  template <typename T>
    requires requires(const T& value) { fields(value); }
  void write(const T& value) {
    std::apply([&](const auto&... field) { (write(field), ...); }, fields(value));
  }

  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

/// Once the bytes have run out or make no sense, ok() is false and nothing more is read.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  bool ok() const { return ok_; }
  bool at_end() const { return bytes_.empty(); }

  template <Number T>
  void read(T& value) {
    if (!has(sizeof(T))) return;
    std::memcpy(&value, bytes_.data(), sizeof(T));
    bytes_ = bytes_.subspan(sizeof(T));
  }
  void read(std::string& text) {
    uint64_t size = 0;
    read(size);
    if (!has(size)) return;
    text.assign(reinterpret_cast<const char*>(bytes_.data()), size);
    bytes_ = bytes_.subspan(size);
  }
  /// Grows the list as elements arrive: a wrong length cannot ask for much memory.
  template <typename T>
  void read(std::vector<T>& list) {
    uint64_t size = 0;
    read(size);
    for (uint64_t i = 0; ok_ && i < size; ++i) read(list.emplace_back());
  }
  template <typename K, typename V>
  void read(std::map<K, V>& entries) {
    uint64_t size = 0;
    read(size);
    for (uint64_t i = 0; ok_ && i < size; ++i) {
      K key{};
      read(key);
      read(entries[std::move(key)]);
    }
  }
  template <typename... T>
  void read(std::variant<T...>& alternatives) {
    uint8_t index = 0;
    read(index);
    ok_ = ok_ && index < sizeof...(T);
    if (ok_) read_alternative(alternatives, index, std::index_sequence_for<T...>());
  }
  template <typename T>
    requires requires(T& value) { fields(value); }
  void read(T& value) {
    std::apply([&](auto&... field) { (read(field), ...); }, fields(value));
  }

 private:
  bool has(uint64_t size) {
    ok_ = ok_ && size <= bytes_.size();
    return ok_;
  }
  template <typename Variant, size_t... I>
  void read_alternative(Variant& alternatives, size_t index, std::index_sequence<I...>) {
    ((I == index ? read(alternatives.template emplace<I>()) : void()), ...);
  }

  std::span<const std::byte> bytes_;
  bool ok_ = true;
};

}  // namespace corf::runtime

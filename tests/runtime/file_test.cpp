#include "runtime/file.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <random>
#include <unistd.h>
#include <zlib.h>

#include "tests/runtime/small_kernels.h"

namespace corf::runtime {
namespace {

/// y = x + 5, z = running sums of y: a kernel, a routine with every type of attribute, a constant.
ExecutableSpec sample_spec() {
  ExecutableSpec spec;
  spec.image = small_kernels();
  spec.inputs = {{"x", DType::kF32, {4}}};
  spec.outputs = {{"y", DType::kF32, {4}}, {"z", DType::kF32, {4}}};
  spec.constants = Tensor(DType::kU8, {72});
  spec.constants.data<int64_t>()[8] = 0;  // the axis
  spec.buffers = {{BufferPlace::Kind::kInput, 0, 0, 16},
                  {BufferPlace::Kind::kOutput, 0, 0, 16},
                  {BufferPlace::Kind::kOutput, 0, 1, 16},
                  {BufferPlace::Kind::kConstant, 64, -1, 8},
                  {BufferPlace::Kind::kArena, 128, -1, 4}};
  spec.arena_bytes = 192;
  spec.scratch_bytes = 320;
  RoutineStep sums{"CumSum",
                   {{"exclusive", int64_t{0}},
                    {"a", 0.5},
                    {"b", std::string("text")},
                    {"c", std::vector<int64_t>{1, -2}},
                    {"d", std::vector<double>{0.25}}},
                   {{1, DType::kF32, {4}}, {3, DType::kI64, {1}}},
                   {{2, DType::kF32, {4}}},
                   "sums"};
  spec.steps = {KernelStep{kAddParam, {0, 1}, {5}, 4, "add", 11, 12, 13}, sums};
  spec.plan_hash = "0123abcd";
  spec.metadata = {{"character", "a\nb"}, {"empty", ""}};
  return spec;
}

std::vector<std::byte> bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto* from = reinterpret_cast<const std::byte*>(text.data());
  return {from, from + text.size()};
}

class ExecutableFile : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = std::filesystem::temp_directory_path() /
           ("corf_file_" + std::to_string(::getpid()) + "_" +
            testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(dir_);
    path_ = dir_ / "model.corf";
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::filesystem::path dir_, path_;
};

TEST_F(ExecutableFile, RoundTripsEveryField) {
  const ExecutableSpec spec = sample_spec();
  ASSERT_TRUE(write_executable_file(spec, path_).ok());
  EXPECT_TRUE(is_executable_file(path_));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_), {}), 1) << "nothing else";
  auto read = read_executable_file(path_);
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->image.isa, spec.image.isa);
  EXPECT_EQ(read->image.bytes, spec.image.bytes);
  ASSERT_EQ(read->image.entries.size(), 4u);
  EXPECT_EQ(read->image.entries[1].name, "mirror");
  EXPECT_EQ(read->image.entries[1].offset_bytes, spec.image.entries[1].offset_bytes);
  ASSERT_EQ(read->buffers.size(), 5u);
  EXPECT_EQ(read->buffers[3].kind, BufferPlace::Kind::kConstant);
  EXPECT_EQ(read->buffers[3].offset_bytes, 64);
  EXPECT_EQ(read->buffers[2].position, 1);
  EXPECT_EQ(read->buffers[4].size_bytes, 4);
  const auto& kernel = std::get<KernelStep>(read->steps[0]);
  EXPECT_EQ(kernel.entry, kAddParam);
  EXPECT_EQ(kernel.buffers, (std::vector<int>{0, 1}));
  EXPECT_EQ(kernel.params, (std::vector<int64_t>{5}));
  EXPECT_EQ(kernel.partitions, 4);
  EXPECT_EQ(kernel.label, "add");
  EXPECT_EQ(kernel.work_flops, 11);
  EXPECT_EQ(kernel.executed_flops, 12);
  EXPECT_EQ(kernel.compulsory_bytes, 13);
  const auto& routine = std::get<RoutineStep>(read->steps[1]);
  EXPECT_EQ(routine.routine, "CumSum");
  EXPECT_EQ(routine.attributes, std::get<RoutineStep>(spec.steps[1]).attributes);
  EXPECT_EQ(routine.inputs[1].buffer, 3);
  EXPECT_EQ(routine.inputs[1].dtype, DType::kI64);
  EXPECT_EQ(routine.outputs[0].shape, Shape{4});
  EXPECT_EQ(routine.label, "sums");
  ASSERT_EQ(read->constants.size_bytes(), 72);
  EXPECT_EQ(std::memcmp(read->constants.bytes(), spec.constants.bytes(), 72), 0);
  EXPECT_EQ(read->arena_bytes, 192);
  EXPECT_EQ(read->scratch_bytes, 320);
  EXPECT_EQ(read->inputs[0].name, "x");
  EXPECT_EQ(read->outputs[1].shape, Shape{4});
  EXPECT_EQ(read->plan_hash, "0123abcd");
  EXPECT_EQ(read->metadata, spec.metadata);
  EXPECT_EQ(bytes_of(path_), to_bytes(spec)) << "the same bytes on disk as in memory";
  EXPECT_EQ(to_bytes(*read), to_bytes(spec));
}

TEST_F(ExecutableFile, RunsAfterTheFileIsGone) {
  ASSERT_TRUE(write_executable_file(sample_spec(), path_).ok());
  auto spec = read_executable_file(path_);
  ASSERT_TRUE(spec.ok());
  std::filesystem::remove(path_);
  auto loaded = Executable::load(spec.take(), Team::create(2).take());
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  const std::vector<float> x = {1, 2, 3, 4};
  std::vector<float> y(4), z(4);
  const void* inputs[] = {x.data()};
  void* outputs[] = {y.data(), z.data()};
  ASSERT_TRUE((*loaded)->run(inputs, outputs).ok());
  EXPECT_EQ(y, (std::vector<float>{6, 7, 8, 9}));
  EXPECT_EQ(z, (std::vector<float>{6, 13, 21, 30}));
}

TEST_F(ExecutableFile, EmptyModel) {
  ASSERT_TRUE(write_executable_file({}, path_).ok());
  const auto read = read_executable_file(path_);
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_TRUE(read->steps.empty());
}

TEST_F(ExecutableFile, UnreadableAndUnwritablePlaces) {
  const auto absent = read_executable_file(path_);
  ASSERT_FALSE(absent.ok());
  EXPECT_EQ(absent.error().code, ErrorCode::kIo);
  EXPECT_NE(absent.error().message.find("model.corf"), std::string::npos);
  EXPECT_EQ(read_executable_file(dir_).error().code, ErrorCode::kIo);
  EXPECT_FALSE(is_executable_file(path_));
  EXPECT_FALSE(is_executable_file(dir_));

  const Status status = write_executable_file(sample_spec(), dir_ / "absent" / "model.corf");
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kIo);
  std::filesystem::create_directory(path_);
  EXPECT_FALSE(write_executable_file(sample_spec(), path_).ok()) << "a folder is in the way";
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_), {}), 1) << "nothing left over";
}

std::string error_of(const std::vector<std::byte>& bytes) {
  const auto spec = from_bytes(bytes);
  return spec.ok() ? "" : spec.error().message;
}

TEST(ExecutableBytes, EveryTruncationIsAnError) {
  const std::vector<std::byte> good = to_bytes(sample_spec());
  ASSERT_EQ(error_of(good), "");
  for (size_t size = 0; size < good.size(); size += size < 2000 ? 1 : 37) {
    EXPECT_NE(error_of({good.begin(), good.begin() + static_cast<int64_t>(size)}), "") << size;
  }
}

TEST(ExecutableBytes, EveryFlippedBitIsAnErrorUnlessInTheGaps) {
  const std::vector<std::byte> good = to_bytes(sample_spec());
  int errors = 0, changed = 0;
  for (size_t at = 0; at < good.size(); ++at) {
    std::vector<std::byte> damaged = good;
    damaged[at] ^= std::byte(1 << at % 8);
    ++changed;
    if (!error_of(damaged).empty()) {
      ++errors;
    } else {
      // Only what lies between the sections is not covered by a checksum.
      EXPECT_EQ(good[at], std::byte(0)) << at;
    }
  }
  const ExecutableSpec spec = sample_spec();
  EXPECT_GT(errors, static_cast<int>(spec.image.bytes.size()) + 72 + 300);
}

TEST(ExecutableBytes, ForeignFilesAndFormatsAreNamed) {
  std::vector<std::byte> bytes = to_bytes(sample_spec());
  std::vector<std::byte> other = bytes;
  other[8] = std::byte(99);
  EXPECT_NE(error_of(other).find("format 99"), std::string::npos) << error_of(other);
  EXPECT_EQ(from_bytes(other).error().code, ErrorCode::kUnsupported);
  bytes[0] = std::byte('X');
  EXPECT_NE(error_of(bytes).find("not a compiled corf model"), std::string::npos);
  EXPECT_NE(error_of({}).find("0 bytes"), std::string::npos);
}

/// With right checksums around wrong contents the reader and verify_spec are on their own.
TEST(ExecutableBytes, WrongContentsUnderRightChecksums) {
  ExecutableSpec spec = sample_spec();
  spec.buffers[4].offset_bytes = 1 << 20;
  EXPECT_NE(error_of(to_bytes(spec)).find("buffer 4"), std::string::npos);
  spec = sample_spec();
  std::get<KernelStep>(spec.steps[0]).buffers[0] = 77;
  EXPECT_NE(error_of(to_bytes(spec)).find("buffer 77"), std::string::npos);
  spec = sample_spec();
  spec.inputs[0].dtype = DType(200);
  EXPECT_NE(error_of(to_bytes(spec)).find("element type 200"), std::string::npos);
}

/// Puts right checksums into the header, so that damage reaches what reads the steps.
void sign(std::vector<std::byte>& bytes) {
  constexpr size_t kHeaderBytes = 88, kChecksumAt = 12, kStepsAt = 16;
  uint64_t offset_and_size[2];
  std::memcpy(offset_and_size, bytes.data() + kStepsAt, 16);
  const auto crc = [&](size_t from, size_t size) {
    return static_cast<uint32_t>(
        crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data() + from), size));
  };
  const uint32_t steps = crc(offset_and_size[0], offset_and_size[1]), zero = 0;
  std::memcpy(bytes.data() + kStepsAt + 16, &steps, 4);
  std::memcpy(bytes.data() + kChecksumAt, &zero, 4);
  const uint32_t header = crc(0, kHeaderBytes);
  std::memcpy(bytes.data() + kChecksumAt, &header, 4);
}

TEST(ExecutableBytes, RandomDamageUnderRightChecksumsIsLoadedOrRefused) {
  const std::vector<std::byte> good = to_bytes(sample_spec());
  std::vector<std::byte> same = good;
  sign(same);
  ASSERT_EQ(same, good);
  uint64_t offset_and_size[2];
  std::memcpy(offset_and_size, good.data() + 16, 16);
  std::mt19937_64 random(3);
  const auto team = Team::create(1).take();
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::byte> bytes = good;
    for (uint64_t n = random() % 3 + 1; n > 0; --n) {
      constexpr unsigned kTelling[] = {0, 1, 0x7f, 0x80, 0xff};
      const uint64_t choice = random() % 6;
      bytes[offset_and_size[0] + random() % offset_and_size[1]] =
          std::byte(choice < 5 ? kTelling[choice] : random() % 256);
    }
    sign(bytes);
    auto spec = from_bytes(bytes);
    refused += !spec.ok() || !Executable::load(spec.take(), team).ok();
  }
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace corf::runtime

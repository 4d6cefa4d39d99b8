#include "support/printable.h"

#include <gtest/gtest.h>

namespace corf {
namespace {

TEST(Printable, PlainTextStays) {
  for (const char* text : {"", "conv1/Relu:0", "Größe \xe4\xb8\xad\xe6\x96\x87 \xf0\x9f\x8e\x89"}) {
    EXPECT_EQ(printable(text), text);
  }
}

TEST(Printable, WhatMovesTheCursorIsEscaped) {
  EXPECT_EQ(printable("\x1b]0;title\x07\x1b[2J"), "\\x1b]0;title\\x07\\x1b[2J");
  EXPECT_EQ(printable("a\nb\tc\rd\x7f"), "a\\nb\\tc\\rd\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\u009b31m")
      << "control characters of Latin 1";
  EXPECT_EQ(printable(std::string_view("a\0b", 3)), "a\\x00b");
}

TEST(Printable, WhatTurnsOrHidesTextIsEscaped) {
  EXPECT_EQ(printable("\xe2\x80\xae"
                      "gnp.exe"),
            "\\u202egnp.exe");
  EXPECT_EQ(printable("\xe2\x81\xa6"
                      "\xef\xbb\xbf"
                      "\xf3\xa0\x81\x81"),
            "\\u2066\\ufeff\\ue0041");
}

TEST(Printable, BytesThatAreNoUtf8AreEscaped) {
  EXPECT_EQ(printable("\xff\xfe"), "\\xff\\xfe");
  EXPECT_EQ(printable("caf\xe9"), "caf\\xe9") << "Latin 1";
  EXPECT_EQ(printable("\xe4\xb8"), "\\xe4\\xb8") << "cut off";
  EXPECT_EQ(printable("\xc0\xaf"), "\\xc0\\xaf") << "longer than needed";
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80") << "half of a pair";
  EXPECT_EQ(printable("\xf5\x80\x80\x80"), "\\xf5\\x80\\x80\\x80") << "beyond the last character";
}

TEST(Printable, TwiceIsOnce) {
  const std::string once = printable("\x1b[31m\xff\n");
  EXPECT_EQ(printable(once), once);
}

TEST(Printable, LinesOfAListStayAndNamesBeginNone) {
  EXPECT_EQ(printable_lines("2 nodes:\n  a\n  b\x1b"), "2 nodes:\n  a\n  b\\x1b");
  EXPECT_EQ(printable_lines("node 'x\ncorf: error: y'"), "node 'x\\ncorf: error: y'");
}

TEST(Shortened, KeepsBothEndsAndWholeCharacters) {
  EXPECT_EQ(shortened("short", 5), "short");
  const std::string text = shortened("begin" + std::string(1000, 'x') + "end", 40);
  EXPECT_TRUE(text.starts_with("beginxxx")) << text;
  EXPECT_TRUE(text.ends_with("xxxend")) << text;
  EXPECT_NE(text.find("[968 bytes left out]"), std::string::npos) << text;
  std::string wide;
  for (int i = 0; i < 100; ++i) wide += "\xe4\xb8\xad";
  for (size_t most = 20; most < 30; ++most) {
    const std::string cut = shortened(wide, most);
    EXPECT_EQ(printable(cut), cut) << "still UTF-8";
  }
}

}  // namespace
}  // namespace corf

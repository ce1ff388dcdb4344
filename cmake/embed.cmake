# Run as a script: writes the file INPUT as the string view NAME of NAMESPACE into OUTPUT, which
# includes HEADER. Written as a list of bytes: a string literal may not hold every text.
file(READ ${INPUT} text HEX)
string(LENGTH "${text}" digits)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${text}")
math(EXPR size "${digits} / 2")
file(WRITE ${OUTPUT} "#include \"${HEADER}\"

namespace ${NAMESPACE} {
namespace {
constexpr unsigned char kBytes[] = {${bytes}0};
}
const std::string_view ${NAME}(reinterpret_cast<const char*>(kBytes), ${size});
}  // namespace ${NAMESPACE}
")

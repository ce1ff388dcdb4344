# Run as a script: writes INPUT as the C++ string view NAME of namespace NAMESPACE into OUTPUT.
# A raw literal may hold 64 KiB at most, so the text is cut into lines of literals.
file(READ ${INPUT} text HEX)
string(LENGTH "${text}" digits)
string(REGEX REPLACE "(..)" "\\\\x\\1" escaped "${text}")
string(REGEX REPLACE "((\\\\x..)(\\\\x..)?(\\\\x..)?(\\\\x..)?(\\\\x..)?(\\\\x..)?(\\\\x..)?(\\\\x..)?(\\\\x..)?)"
       "    \"\\1\"\n" lines "${escaped}")
math(EXPR size "${digits} / 2")
file(WRITE ${OUTPUT} "#include \"${HEADER}\"\n\nnamespace ${NAMESPACE} {\n\nextern const std::string_view ${NAME};\nconst std::string_view ${NAME}(\n${lines}    , ${size});\n\n}  // namespace ${NAMESPACE}\n")

// tristill: the command-line client of tristilld.
#include "client/commands.h"

int main(int argc, char** argv) { return tristill::client::run_client(argc, argv); }

# What `cmake --install build/release --prefix ...` lays down, in three components: client, daemon,
# worker. The worker lies beside the daemon, and its tokenizer beside it: so they find each other.
include(GNUInstallDirs)

install(TARGETS tristill RUNTIME COMPONENT client)
install(FILES docs/man/tristill.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT client)
set(COMPLETIONS
  bash:bash-completion/completions/tristill
  zsh:zsh/site-functions/_tristill
  fish:fish/vendor_completions.d/tristill.fish)
foreach(completion ${COMPLETIONS})
  string(REGEX MATCH "^[^:]+" shell ${completion})
  string(REGEX REPLACE "^[^:]+:" "" path ${completion})
  set(script ${CMAKE_BINARY_DIR}/completions/${path})
  get_filename_component(folder ${path} DIRECTORY)
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/completions/${folder})
  install(CODE "execute_process(COMMAND $<TARGET_FILE:tristill> completion ${shell}
                                OUTPUT_FILE ${script} COMMAND_ERROR_IS_FATAL ANY)"
          COMPONENT client)
  install(FILES ${script} DESTINATION ${CMAKE_INSTALL_DATADIR}/${folder} COMPONENT client)
endforeach()

install(TARGETS tristilld RUNTIME COMPONENT daemon)
install(FILES docs/man/tristilld.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT daemon)

if(TRISTILL_WORKER)
  install(TARGETS tristill-worker RUNTIME COMPONENT worker)
  install(TARGETS tristill-tokenizer LIBRARY DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT worker)
endif()

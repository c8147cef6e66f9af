# Images of the three programs. Two ways to get there, chosen by the target:
#   from-binary   copies static binaries from demo/image/bin, built on the host:
#                   RUSTFLAGS="-C target-feature=+crt-static" cargo build --release \
#                     --target x86_64-unknown-linux-gnu -p data-plane -p xds-server -p demo
#                 (`.ci/run` also packs relocations, as the stage below does: it saves memory)
#   from-source   (default) builds them here
# The stage from-binary stands first, because the classic builder builds all that is above a target.

FROM scratch AS from-binary
COPY demo/image/bin/ /usr/local/bin/
COPY --chown=65532:65532 demo/image/state/ /var/lib/gomesh/
ENV STATE_DIRECTORY=/var/lib/gomesh
USER 65532:65532
EXPOSE 8000 9901
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s CMD ["/usr/local/bin/data-plane", "healthcheck"]
CMD ["/usr/local/bin/data-plane"]

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN target="$(uname -m)-unknown-linux-gnu" \
 && RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs" cargo build --locked --release --target "$target" \
      -p data-plane -p xds-server -p demo \
 && mkdir /out \
 && cp "target/$target/release/data-plane" "target/$target/release/xds-server" \
      "target/$target/release/demo" /out/

FROM scratch AS from-source
COPY --from=build /out/ /usr/local/bin/
COPY --chown=65532:65532 demo/image/state/ /var/lib/gomesh/
ENV STATE_DIRECTORY=/var/lib/gomesh
USER 65532:65532
EXPOSE 8000 9901
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s CMD ["/usr/local/bin/data-plane", "healthcheck"]
CMD ["/usr/local/bin/data-plane"]

# The image holds the gateway, the libraries it loads, and nothing else: no shell, no package manager.
# Its root filesystem is made by scripts/image-rootfs, which the tests run too, without an engine.
FROM swift:6.3-bookworm AS build
WORKDIR /source
COPY scripts scripts
RUN scripts/install build
COPY Package.swift ./
COPY Sources Sources
COPY Tests Tests
COPY deploy deploy
RUN scripts/image-rootfs /rootfs

FROM scratch
COPY --from=build /rootfs /
USER 10001:10001
EXPOSE 8443 9464
VOLUME /var/lib/auth-gateway
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/auth-gateway"]
CMD ["run", "--config", "/etc/auth-gateway/gateway.yaml"]

# The executable for Linux, made where glibc is old (2.28): docker build --file build/package.Dockerfile --output dist .
FROM almalinux:8 AS build
# hadolint ignore=DL3041
RUN dnf -y install gcc binutils python3.12 python3.12-devel python3.12-pip && dnf clean all
COPY . /source
WORKDIR /source
# Public keys: not a secret.
ARG ANANTA_RELEASE_KEYS=""
RUN python3.12 build/dev.py package --max-glibc 2.28 --output /made

FROM scratch
COPY --from=build /made /

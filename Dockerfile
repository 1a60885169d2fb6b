# The service of docs/serve.md, without torch: the model's graphs come from the cache.
FROM python:3.11-slim
COPY . /src
RUN pip install --no-cache-dir -c /src/constraints.txt "/src[serve]"
RUN useradd --create-home clip && install -d -o clip -g clip /cache
ENV CLIP_ITALIAN_CACHE=/cache
# The package sets these by itself; here they hold for whatever else runs in the container (docs/privacy.md).
ENV ORT_DISABLE_TELEMETRY=1 DO_NOT_TRACK=1 HF_HUB_DISABLE_TELEMETRY=1
# Two arenas for all threads: with eight a core, memory that threads free stays with the process (benchmarks/RESULTS.md).
ENV MALLOC_ARENA_MAX=2
USER clip
EXPOSE 7860
ENTRYPOINT ["clip-italian", "serve", "--index", "/index", "--host", "0.0.0.0", "--keys", "/run/secrets/keys"]

# Building this image is the quick start of the README: what `make demo` and `make test` need, and nothing else.
FROM python:3.11-slim
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /xslams
COPY . .
RUN make demo
RUN make test
ENV PATH=/xslams/.venv/bin:$PATH
CMD ["xslams", "--help"]

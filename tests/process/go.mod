module k8s-dqlite/tests/process

go 1.22.0

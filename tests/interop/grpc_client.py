"""Calls a method through gRPC's own xDS client and prints what came back."""

import sys

import grpc

channel = grpc.insecure_channel(sys.argv[1])
call = channel.unary_unary("/echo.Echo/Say")
print(call(b"hello", timeout=15).decode())

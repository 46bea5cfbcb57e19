print("auth-gateway")

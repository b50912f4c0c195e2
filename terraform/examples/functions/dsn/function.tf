output "dsn" {
  value = provider::heliosproxy::dsn("analytics.databases.svc:6432", "app", "shop")
}

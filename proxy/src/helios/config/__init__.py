"""The configuration of a proxy: models, loader, snapshot. Loads no engine and no web framework.

The models are where every default lives; `helios_crds` composes them into resources. `loader` reads helios.toml,
`snapshot` writes what the engine takes, `reload` compares two configurations.
"""

from helios.config.admin import AdminConfig
from helios.config.auth import AuthConfig, AuthMethod, CertificateName, IdentConfig
from helios.config.base import HeliosModel
from helios.config.circuit_breaker import CircuitBreakerConfig
from helios.config.consistency_keys import ConsistencyKeysConfig
from helios.config.console import CONSOLE_DATABASE, ConsoleConfig
from helios.config.databases import ANY_DATABASE, DatabaseConfig
from helios.config.drain import DrainConfig
from helios.config.failover import FailoverConfig, PromotionPolicy
from helios.config.handover import HandoverConfig
from helios.config.io import IoBackend
from helios.config.limits import LimitsConfig
from helios.config.log import LogConfig, LogFormat, LogLevel
from helios.config.maintenance import MaintenanceConfig, MaintenanceMode
from helios.config.monitor import MonitorConfig
from helios.config.nodes import ClusterConfig, NodeConfig, NodeRole, Provider
from helios.config.planner import PlannerConfig
from helios.config.pool import PoolConfig, PoolMode, PoolOverrides, PreparedStatements
from helios.config.proxy import CONFIG_VERSION, ProxyConfig
from helios.config.roles import UserConfig
from helios.config.routing import (
    Consistency,
    ReadStrategy,
    RoutingConfig,
    RoutingOverrides,
    RoutingRuleConfig,
    RuleConsistency,
    RuleRoute,
    WriteMode,
)
from helios.config.tls import ChannelBinding, ClientAuth, ClientTlsConfig, ClientTlsMode, ServerTlsConfig, ServerTlsMode
from helios.config.tracing import TracingConfig
from helios.config.transaction_replay import JournalConfig, Mutables, TransactionReplayConfig
from helios.config.workload import WorkloadConfig

__all__ = [
    "ANY_DATABASE",
    "CONFIG_VERSION",
    "CONSOLE_DATABASE",
    "AdminConfig",
    "AuthConfig",
    "AuthMethod",
    "CertificateName",
    "ChannelBinding",
    "CircuitBreakerConfig",
    "ClientAuth",
    "ClientTlsConfig",
    "ClientTlsMode",
    "ClusterConfig",
    "Consistency",
    "ConsistencyKeysConfig",
    "ConsoleConfig",
    "DatabaseConfig",
    "DrainConfig",
    "FailoverConfig",
    "HandoverConfig",
    "HeliosModel",
    "IdentConfig",
    "IoBackend",
    "JournalConfig",
    "LimitsConfig",
    "LogConfig",
    "LogFormat",
    "LogLevel",
    "MaintenanceConfig",
    "MaintenanceMode",
    "MonitorConfig",
    "Mutables",
    "NodeConfig",
    "NodeRole",
    "PlannerConfig",
    "PoolConfig",
    "PoolMode",
    "PoolOverrides",
    "PreparedStatements",
    "PromotionPolicy",
    "Provider",
    "ProxyConfig",
    "ReadStrategy",
    "RoutingConfig",
    "RoutingOverrides",
    "RoutingRuleConfig",
    "RuleConsistency",
    "RuleRoute",
    "ServerTlsConfig",
    "ServerTlsMode",
    "TracingConfig",
    "TransactionReplayConfig",
    "UserConfig",
    "WorkloadConfig",
    "WriteMode",
]

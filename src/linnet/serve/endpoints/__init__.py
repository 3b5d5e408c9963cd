"""All endpoints. A new one is a file here, and a line in the table."""

from linnet.serve.endpoint import Endpoint
from linnet.serve.endpoints.attachments import ATTACHMENTS
from linnet.serve.endpoints.chat import CHAT
from linnet.serve.endpoints.completions import COMPLETIONS
from linnet.serve.endpoints.conversations import CONVERSATIONS
from linnet.serve.endpoints.dashboard import DASHBOARD
from linnet.serve.endpoints.documents import DOCUMENTS
from linnet.serve.endpoints.embeddings import EMBEDDINGS
from linnet.serve.endpoints.files import FILES
from linnet.serve.endpoints.infill import INFILL
from linnet.serve.endpoints.messages import COUNT_TOKENS, MESSAGES
from linnet.serve.endpoints.models import MODELS, ONE_MODEL
from linnet.serve.endpoints.monitoring import HEALTH, METRICS, OPENAPI
from linnet.serve.endpoints.ollama import OLLAMA
from linnet.serve.endpoints.page import PAGE
from linnet.serve.endpoints.responses import RESPONSES
from linnet.serve.endpoints.routing import ROUTING
from linnet.serve.endpoints.search import RERANK, RERANK_2, SEARCH
from linnet.serve.endpoints.tokens import DETOKENIZE, TOKENIZE

ENDPOINTS: tuple[Endpoint, ...] = (
    CHAT,
    COMPLETIONS,
    INFILL,
    MESSAGES,
    COUNT_TOKENS,
    EMBEDDINGS,
    SEARCH,
    RERANK,
    RERANK_2,
    MODELS,
    ONE_MODEL,
    TOKENIZE,
    DETOKENIZE,
    *RESPONSES,
    *CONVERSATIONS,
    *OLLAMA,
    *DOCUMENTS,
    *FILES,
    *ROUTING,
    ATTACHMENTS,
    *DASHBOARD,
    METRICS,
    HEALTH,
    OPENAPI,
    *PAGE,
)
